"""Constraints: limits of a configuration, recorded in the study as Optuna records its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import optuna

from kerastune_optuna import _check, _optuna
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._study.record import TrialRecord

if TYPE_CHECKING:
    import keras

Constraint: TypeAlias = Callable[[optuna.Trial, "keras.Model"], float | Sequence[float]]

_SIZE, _FLOPS, _TIME = "max_params", "max_flops", "max_seconds_per_trial"


class Constraints:
    """Check and hold the limits of a configuration.

    Args:
        max_params: The most parameters of a model; None for no limit.
        max_flops: The most floating-point operations of a model for one row; None for no limit.
        max_seconds: The most seconds of a training; None for no limit.
        functions: Each takes the trial and its model, and returns one number or several. A number
            above 0 breaks the constraint, and says by how much.

    Attributes:
        described: The constraints that are set, in a form that JSON can store.
        are_there: Whether there are any constraints that a model may break.
        end_trainings: Whether there are limits that show only while a model trains.

    Raises:
        ArgumentError: A limit or a function cannot work; the message says what to pass instead.
    """

    def __init__(
        self,
        max_params: int | None = None,
        max_flops: int | None = None,
        max_seconds: float | None = None,
        functions: Sequence[Constraint] = (),
    ) -> None:
        if max_params is not None:
            instead = "Pass the most parameters that a model may have, or None for no limit."
            _check.integer(_SIZE, max_params, least=1, instead=instead)
        if max_flops is not None:
            instead = "Pass the most operations that a row may take, or None for no limit."
            _check.integer(_FLOPS, max_flops, least=1, instead=instead)
        if max_seconds is not None:
            instead = "Pass how many seconds a training may take, or None for no limit."
            _check.seconds(_TIME, max_seconds, instead=instead)
            if max_seconds == 0:
                raise ArgumentError(f"{_TIME}=0 leaves no time to train. {instead}")
        self.max_params, self.max_flops, self.max_seconds = max_params, max_flops, max_seconds
        self._functions = _named(functions)
        limits = {_SIZE: max_params, _FLOPS: max_flops, _TIME: max_seconds}
        told = {**limits, "constraints": list(self._functions)}
        self.described = {name: one for name, one in told.items() if one}
        self.are_there = bool(self.described)
        self.end_trainings = max_seconds is not None

    def take_model(self, trial: optuna.Trial, model: keras.Model) -> str | None:
        """Record in the study how far a model is from its limits.

        Args:
            trial: The running trial.
            model: Its model, before training. If FLOPs are limited, the trial has recorded them.

        Returns:
            Why the trial ends here; None if it may train. Constraints that the builder has set by
            `trial.set_constraint` count as well.

        Raises:
            ArgumentError: A function returned something other than numbers.
        """
        if self.max_params is not None:
            _set(trial, _SIZE, _excess(model.count_params(), self.max_params))
        if self.max_flops is not None:
            _set(trial, _FLOPS, _excess(TrialRecord(trial).flops or 0, self.max_flops))
        for name, function in self._functions.items():
            for key, value in _numbers(name, function(trial, model)).items():
                _set(trial, key, value)
        broken = [key for key, value in _optuna.as_known(trial).constraints.items() if value > 0]
        if broken:
            self.take_time(trial, None)
        return ", ".join(self._why(key, trial, model) for key in broken) or None

    def _why(self, key: str, trial: optuna.Trial, model: keras.Model) -> str:
        if key == _SIZE:
            return f"{_SIZE}: {model.count_params():,} > {self.max_params:,}"
        if key == _FLOPS:
            return f"{_FLOPS}: {TrialRecord(trial).flops:,} > {self.max_flops:,}"
        return f"constraint {key}: {_optuna.as_known(trial).constraints[key]:.6g} > 0"

    def exceeded(self, seconds: float) -> str | None:
        """Return which limit a training that runs has exceeded; None if it has exceeded none.

        Args:
            seconds: How long all trainings of its trial have taken so far.
        """
        if self.max_seconds is not None and seconds > self.max_seconds:
            return f"{_TIME}: {seconds:.4g} > {self.max_seconds:g}"
        return None

    def take_time(self, trial: optuna.Trial, seconds: float | None) -> None:
        """Record in the study how long the training took; None if there was none.

        Samplers that model constraints need the same constraints in each trial.
        """
        if self.max_seconds is not None:
            _set(trial, _TIME, 0.0 if seconds is None else _excess(seconds, self.max_seconds))


def _excess(value: float, limit: float) -> float:
    """Return the excess of a value as a share of its limit: samplers add up those of all limits."""
    return value / limit - 1


def _set(trial: optuna.Trial, key: str, value: float) -> None:
    # A trial may begin twice, and Optuna warns about a second value.
    if key not in _optuna.as_known(trial).constraints:
        trial.set_constraint(key, value)


def _named(functions: object) -> dict[str, Constraint]:
    """Return the functions by unique names; refuse what cannot be called."""
    instead = (
        "Pass a list of functions that take the trial and its model, and return a number: above 0 "
        "if the configuration is not allowed. Where its parameters alone show that, let "
        "build_model raise FailedTrialError."
    )
    if not isinstance(functions, list | tuple):
        raise ArgumentTypeError(f"constraints={functions!r} is not a list. {instead}")
    for function in functions:
        if not callable(function):
            raise ArgumentTypeError(f"constraints holds {function!r}. {instead}")
        if (why := _check.why_not(function, 2)) is not None:
            raise ArgumentTypeError(
                f"constraints holds {_name(function)}, which cannot be called with a trial and a "
                f"model ({why}). {instead}"
            )
    names = [_name(function) for function in functions]
    unique = [
        name if names.count(name) == 1 else f"{name} {place}"
        for place, name in enumerate(names, start=1)
    ]
    return dict(zip(unique, functions, strict=True))


def _name(function: object) -> str:
    inner = getattr(function, "func", function)  # a functools.partial has `func`
    return str(getattr(inner, "__name__", type(inner).__name__))


def _numbers(name: str, returned: Any) -> dict[str, float]:
    """Return the numbers that a function returned, by their keys."""
    found = {name: returned}
    if isinstance(returned, list | tuple):
        found = {f"{name}[{place}]": value for place, value in enumerate(returned)}
    instead = "Return a number: above 0 if the configuration is not allowed, and by how much."
    for value in found.values():
        # To Optuna, True would be a broken constraint; to most readers, a satisfied one.
        if isinstance(value, bool | np.bool_) or not hasattr(value, "__float__"):
            raise ArgumentTypeError(f"The constraint {name} returned {value!r}. {instead}")
        if math.isnan(float(value)):
            raise ArgumentError(f"The constraint {name} returned NaN. {instead}")
    return {key: float(value) for key, value in found.items()}
