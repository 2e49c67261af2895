"""Check the arguments of Model.fit: their names, and whether the objective can be logged."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from kerastune_optuna import _check
from kerastune_optuna._data.fit import (
    DATA_OF_SIZE,
    ONLY_SEARCH_SETS,
    SEARCH_PARAMETERS,
    FitArguments,
)
from kerastune_optuna._data.sources import makes_batches
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._study import Objective, Objectives

# The names of the arguments that the installed Keras's Model.fit takes.
_OF_FIT = inspect.signature(keras.Model.fit).parameters.keys() - {"self"}
_SAME_FOR_ALL = {*ONLY_SEARCH_SETS, "initial_epoch"}


def as_list(callbacks: Any) -> list[Any]:
    """Return the user's callbacks as a list, in whichever form the user passed them."""
    if callbacks is None:
        return []
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    is_list = isinstance(callbacks, Sequence) and not isinstance(callbacks, str)
    return list(callbacks) if is_list else [callbacks]


def check_fit_arguments(names: Iterable[str], caller: str, *, is_free: bool) -> None:
    """Reject names of arguments that neither the installed Keras's Model.fit nor the caller takes.

    Args:
        names: The names that were passed.
        caller: The method to which they were passed.
        is_free: Whether the arguments go to the builder's own fit, which may take any others.

    Raises:
        ArgumentTypeError: An argument is unknown; the message suggests the nearest known one.
    """
    known = _OF_FIT - SEARCH_PARAMETERS
    for name in names:
        if name not in known and not is_free:
            ours = known | SEARCH_PARAMETERS | {"n_trials", "timeout", "n_workers"}
            raise ArgumentTypeError(
                f"{caller} got {name!r}, which Model.fit does not take."
                f"{_check.nearest(name, ours)} It takes {', '.join(sorted(known))}."
            )


def check_builders_arguments(names: Iterable[str]) -> None:
    """Reject arguments of Model.fit that a builder must not return.

    Raises:
        ArgumentTypeError: An argument must be passed to search(), or is unknown; the message then
            suggests the nearest known one.
    """
    for name in names:
        if name in _SAME_FOR_ALL:
            raise ArgumentTypeError(
                f"build_model returned {name!r} with its model, which must be the same for all "
                f"trials. Pass {name}= to search(); data may be a function of the trial."
            )
        if name not in _OF_FIT:
            own = ", ".join(sorted(_OF_FIT - _SAME_FOR_ALL))
            raise ArgumentTypeError(
                f"build_model returned {name!r} with its model, which Model.fit does not take."
                f"{_check.nearest(str(name), _OF_FIT)} It takes {own}."
            )


def check_training(arguments: FitArguments, objectives: Objectives, *, may_add: bool) -> None:
    """Reject epochs, batches or a validation with which the objective could never be logged.

    Args:
        arguments: The arguments of search(), possibly with those that a builder returned.
        objectives: The tuner's objectives.
        may_add: Whether the user's callbacks may add metrics to the logs. The builder's own fit may
            do so in any case.

    Raises:
        ArgumentError: An argument is invalid; the message says what to pass instead.
    """
    _check.integer("epochs", arguments.epochs, least=1, instead="Pass 1 or more epochs.")
    for name, of in DATA_OF_SIZE.items():
        if (size := arguments.others.get(name)) is not None:
            _check.integer(name, size, least=1, instead="Pass how many rows a batch has.")
            data = getattr(arguments, of)
            if makes_batches(data) and not arguments.is_free:
                raise ArgumentError(
                    f"{name} was passed with {of} of type {type(data).__name__}, which already has "
                    f"batches, so Keras would ignore it. Leave {name} out; to tune it, pass a "
                    "function of the trial that makes the batches."
                )
    if (initial := arguments.first_epoch) >= arguments.epochs:
        raise ArgumentError(
            f"initial_epoch={initial} leaves none of epochs={arguments.epochs} to train. Pass "
            "epochs= greater than initial_epoch=."
        )
    for objective in objectives.metrics:
        if objective.name.startswith("val_") and not (may_add or arguments.is_free):
            _check_validation(arguments, objective)


def _check_validation(arguments: FitArguments, objective: Objective) -> None:
    """Reject arguments without validation, or with a validation that would never run."""
    if not arguments.has_validation:
        raise ArgumentError(
            f"objective={objective.name!r} needs validation data, but there is none. Pass "
            f"validation_data= or validation_split=, or objective={objective.name[4:]!r}."
        )
    frequency = arguments.others.get("validation_freq", 1)
    if isinstance(frequency, int) and frequency > arguments.epochs:
        raise ArgumentError(
            f"validation_freq={frequency} is more than epochs={arguments.epochs}: the objective "
            f"{objective.name!r} would never be logged. Pass validation_freq=1, or more epochs."
        )
