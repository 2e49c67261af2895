"""The ranges of KerasTuner's hyperparameters as distributions of Optuna, with just the same values.

Optuna knows no logarithm with steps: such values are choices. It knows no mirrored logarithm
("reverse_log") either: one without steps is a plain range, from which values are drawn evenly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    kind = _checked(name, low, high, step, sampling)
    if kind == "linear":
        step = step or 1
        # Optuna warns of a range that is no multiple of its step.
        return IntDistribution(low, low + (high - low) // step * step, step=step)
    if step is None:
        return IntDistribution(low, high, log=kind == "log")
    return CategoricalDistribution([int(value) for value in _powers(low, high, step, kind)])


def float_range(
    name: str, low: float, high: float, step: float | None, sampling: str | None
) -> BaseDistribution:
    """Return the distribution of hp.Float."""
    low, high = float(low), float(high)
    kind = _checked(name, low, high, step, sampling)
    if step is None:
        return FloatDistribution(low, high, log=kind == "log")
    if kind != "linear":
        return CategoricalDistribution(_powers(low, high, step, kind))
    # KerasTuner divides floats as they are: 1.0 // 0.2 is 4, so that its last value is 0.8.
    steps = (high - low) // step
    # In decimals, as Optuna checks it: 3 * 0.1 is above 0.3 by a last digit.
    last = Decimal(str(low)) + int(steps) * Decimal(str(float(step)))
    return FloatDistribution(low, float(last), step=step)


def choice(name: str, values: Sequence[Any]) -> CategoricalDistribution:
    """Return the distribution of hp.Choice."""
    if not values:
        raise ArgumentError(f"hp.Choice({name!r}) has no values. Pass the values to choose from.")
    # KerasTuner refuses these choices too: its files and protocol hold one type of choices.
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1 or not isinstance(values[0], _KINDS):
        raise ArgumentTypeError(
            f"hp.Choice({name!r}) has values of type {' and '.join(kinds)}: {list(values)}. Pass "
            "whole numbers, floats, booleans or texts, all of one type; for other objects pass "
            "their names, and look them up."
        )
    # KerasTuner's Choice turns booleans, and subclasses of int, into whole numbers.
    is_whole = isinstance(values[0], int)
    return CategoricalDistribution([int(value) for value in values] if is_whole else values)


def fixed(name: str, value: Any) -> BaseDistribution:
    """Return the distribution of hp.Fixed: samplers leave alone what has one choice."""
    if not isinstance(value, _KINDS):
        raise ArgumentTypeError(
            f"hp.Fixed({name!r}) has value={value!r} of type {type(value).__name__}. Pass a whole "
            "number, a float, a boolean or a text."
        )
    return CategoricalDistribution([value])


def only(value: Any, distribution: BaseDistribution) -> BaseDistribution:
    """Return a distribution of the same kind that has a single value."""
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return type(distribution)(value, value, log=distribution.log)
    return CategoricalDistribution([value])


def from_config(kind: str, name: str, config: Mapping[str, Any]) -> BaseDistribution:
    """Return the distribution of a hyperparameter as KerasTuner's files describe it.

    Raises:
        ArgumentError: It is of a kind that KerasTuner's HyperParameters do not have.
    """
    if kind in ("Int", "Float"):
        make = int_range if kind == "Int" else float_range
        low, high = config["min_value"], config["max_value"]
        return make(name, low, high, config.get("step"), config.get("sampling"))
    if kind == "Choice":
        return choice(name, config["values"])
    if kind == "Boolean":
        return CategoricalDistribution([True, False])
    _check.one_of(f"class_name of {name!r}", kind, ("Boolean", "Fixed"))
    return fixed(name, config["value"])


def to_keras_tuner(value: Any, distribution: BaseDistribution) -> Any:
    """Return a value as KerasTuner computes it, to the last digit."""
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        low, step = distribution.low, distribution.step
        return low + round((value - low) / step) * step
    return value


def _powers(low: float, high: float, step: float, kind: str) -> list[float]:
    """Return the values from low to high, each `step` times as far from an end as the one before.

    The arithmetic is KerasTuner's, so that the values are the same to the last digit.
    """
    count = int(math.log(high / low, step) + 1e-8) + 1
    grown = [low * math.pow(step, power) for power in range(count)]
    return grown if kind == "log" else [high + low - value for value in reversed(grown)]


def _whole(name: str, which: str, value: float) -> int:
    if int(value) != value:
        raise ArgumentTypeError(
            f"hp.Int({name!r}) has {which}={value!r}. Pass a whole number, or ask hp.Float."
        )
    return int(value)


def _checked(name: str, low: float, high: float, step: float | None, sampling: str | None) -> str:
    """Return how a range is sampled.

    Raises:
        ArgumentError: It has no values, or they cannot be sampled so.
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
