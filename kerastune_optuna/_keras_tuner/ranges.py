"""The ranges of KerasTuner's hyperparameters as Optuna distributions with exactly the same values.

Optuna does not support logarithmic sampling with steps, so such values become choices. Nor does it
support "reverse_log" sampling; without steps, such a range is sampled uniformly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

_SAMPLINGS = ("linear", "log", "reverse_log")
_KINDS = (bool, int, float, str)  # the types that KerasTuner allows in hp.Choice and hp.Fixed


def int_range(
    name: str, low: float, high: float, step: float | None, sampling: str | None
) -> BaseDistribution:
    """Return the distribution of hp.Int."""
    low, high = _whole(name, "min_value", low), _whole(name, "max_value", high)
    step = None if step is None else _whole(name, "step", step)
    kind = _sampling_of(name, low, high, step, sampling)
    if kind == "linear":
        step = step or 1
        # Optuna warns if the range is not a multiple of the step.
        return IntDistribution(low, low + (high - low) // step * step, step=step)
    if step is None:
        return IntDistribution(low, high, log=kind == "log")
    return CategoricalDistribution([int(value) for value in _powers(low, high, step, kind)])


def float_range(
    name: str, low: float, high: float, step: float | None, sampling: str | None
) -> BaseDistribution:
    """Return the distribution of hp.Float."""
    low, high = float(low), float(high)
    kind = _sampling_of(name, low, high, step, sampling)
    if step is None:
        return FloatDistribution(low, high, log=kind == "log")
    if kind != "linear":
        return CategoricalDistribution(_powers(low, high, step, kind))
    # KerasTuner floor-divides the floats: 1.0 // 0.2 is 4, so its last value is 0.8.
    steps = (high - low) // step
    # Computed in decimals, as Optuna checks it, since the float 3 * 0.1 is above 0.3.
    last = Decimal(str(low)) + int(steps) * Decimal(str(float(step)))
    return FloatDistribution(low, float(last), step=step)


def choice(name: str, values: Sequence[Any]) -> CategoricalDistribution:
    """Return the distribution of hp.Choice."""
    if not values:
        raise ArgumentError(f"hp.Choice({name!r}) has no values. Pass the values to choose from.")
    # KerasTuner rejects these choices too: its files and protocol support one type of choices.
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1 or not isinstance(values[0], _KINDS):
        raise ArgumentTypeError(
            f"hp.Choice({name!r}) has values of type {' and '.join(kinds)}: {list(values)}. Pass "
            "whole numbers, floats, booleans or strings, all of one type. For other objects, pass "
            "their names and look them up in the builder."
        )
    # KerasTuner's Choice converts booleans and other subclasses of int to int.
    is_whole = isinstance(values[0], int)
    return CategoricalDistribution([int(value) for value in values] if is_whole else values)


def default_choice(name: str, values: Sequence[Any], default: Any, *, ordered: Any) -> Any:
    """Return the default of hp.Choice, with the type of its values.

    Raises:
        ArgumentError: The default is not among the values, or strings were to have an order.
    """
    first = int(values[0]) if isinstance(values[0], int) else values[0]
    if ordered and isinstance(first, str):
        raise ArgumentError(
            f"hp.Choice({name!r}) has ordered=True, but {first!r} is not a number. Leave ordered= "
            "out, or pass False."
        )
    if default is None:
        return first
    chosen = type(first)(default) if isinstance(first, str | int) else default
    if chosen not in values:
        raise ArgumentError(
            f"hp.Choice({name!r}) has default={default!r}, which is not one of its values "
            f"{list(values)}. Pass one of them, or leave default= out."
        )
    return chosen


def boolean(name: str, default: Any) -> BaseDistribution:
    """Return the distribution of hp.Boolean."""
    if default not in (True, False):
        raise ArgumentError(
            f"hp.Boolean({name!r}) has default={default!r}. Pass True or False, or leave it out."
        )
    return CategoricalDistribution([True, False])


def fixed(name: str, value: Any) -> BaseDistribution:
    """Return the distribution of hp.Fixed: a single choice, which samplers do not sample."""
    if not isinstance(value, _KINDS):
        raise ArgumentTypeError(
            f"hp.Fixed({name!r}) has value={value!r} of type {type(value).__name__}. Pass a whole "
            "number, a float, a boolean or a string."
        )
    return CategoricalDistribution([value])


def only(value: Any, distribution: BaseDistribution) -> BaseDistribution:
    """Return a distribution of the same type that has a single value."""
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return type(distribution)(value, value, log=distribution.log)
    return CategoricalDistribution([value])


def to_keras_tuner(value: Any, distribution: BaseDistribution) -> Any:
    """Return a value exactly as KerasTuner computes it."""
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        low, step = distribution.low, distribution.step
        return low + round((value - low) / step) * step
    return value


def _powers(low: float, high: float, step: float, kind: str) -> list[float]:
    """Return the logarithmically spaced values from `low` to `high` with the factor `step`.

    The arithmetic is KerasTuner's, so the values are exactly the same.
    """
    count = int(math.log(high / low, step) + 1e-8) + 1
    grown = [low * math.pow(step, power) for power in range(count)]
    return grown if kind == "log" else [high + low - value for value in reversed(grown)]


def _whole(name: str, which: str, value: float) -> int:
    if int(value) != value:
        raise ArgumentTypeError(
            f"hp.Int({name!r}) has {which}={value!r}. Pass a whole number, or use hp.Float."
        )
    return int(value)


def _sampling_of(
    name: str, low: float, high: float, step: float | None, sampling: str | None
) -> str:
    """Return how a range is sampled.

    Raises:
        ArgumentError: The range is empty, or cannot be sampled this way.
    """
    kind = (sampling or "linear").lower()  # as KerasTuner reads None and "LOG"
    _check.one_of(f"sampling of {name!r}", kind, _SAMPLINGS)
    if low > high:
        raise ArgumentError(
            f"{name!r} has min_value={low} above max_value={high}. Pass the smaller one first."
        )
    if kind != "linear" and low <= 0:
        raise ArgumentError(
            f"{name!r} has sampling={kind!r} and min_value={low}, which has no logarithm. Pass a "
            'min_value above 0, or sampling="linear".'
        )
    least = 0 if kind == "linear" else 1
    if step is not None and step <= least:
        raise ArgumentError(
            f"{name!r} has sampling={kind!r} and step={step}. Pass a step above {least}, or None."
        )
    return kind
