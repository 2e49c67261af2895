"""The data of one trial: call the user's functions of the trial, and check what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from optuna.trial import BaseTrial

from kerastune_optuna._data.checks import GeneratorFunction, is_loader
from kerastune_optuna._data.fit import FitArguments, is_pair
from kerastune_optuna._data.kinds import check_kinds
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError


def data_of_trial(fit: FitArguments, trial: BaseTrial) -> FitArguments:
    """Return the arguments with the data that functions of the trial make.

    Args:
        fit: The arguments that were passed to search().
        trial: The trial that is passed to each function.

    Raises:
        ArgumentError: A function returned data that cannot be trained on.
    """
    found = {name: _called(name, function, trial) for name, function in fit.functions.items()}
    made = replace(fit, **found)
    if isinstance(found.get("x"), tuple):
        made = _with_parts(made)
    opened = made.opened()
    if not fit.is_free:  # the builder's own fit may take anything
        check_kinds(opened)
    return opened


def _called(name: str, function: Callable[[Any], Any], trial: BaseTrial) -> Any:
    """Return what a function returns; wrap a generator, so that each training gets a new one."""
    came = function(trial)
    if came is None:
        raise ArgumentError(
            f"The function that was passed as {name} returned None (is its `return` missing?). "
            "Return data that Model.fit takes."
        )
    if is_loader(came):
        raise ArgumentTypeError(
            f"The function that was passed as {name} returned a function. Return the data."
        )
    if isinstance(came, Iterator):
        return GeneratorFunction(partial(function, trial))
    return came


def _with_parts(fit: FitArguments) -> FitArguments:
    """Return the arguments with the parts of the tuple that the function passed as x returned."""
    if fit.y is not None or not is_pair(fit.x):
        beside = ", but y was passed too" if fit.y is not None else ""
        raise ArgumentError(
            f"The function that was passed as x returned a tuple of {len(fit.x)}{beside}. Return "
            "(x, y) or (x, y, sample_weight), and pass no y; return several inputs as a list."
        )
    return fit.with_parts_of(fit.x)
