"""The conditions under which KerasTuner's hyperparameters are active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_APART = " | "  # between a name and the conditions that tell it from others of that name


@dataclass(frozen=True)
class Condition:
    """Hold the values of a hyperparameter with which others are active."""

    parent: str
    values: tuple[Any, ...]

    def is_met(self, values: Mapping[str, Any]) -> bool:
        """Whether the parent is active and has one of the values."""
        return self.parent in values and values[self.parent] in self.values

    def __str__(self) -> str:
        return f"{self.parent}={','.join(map(str, self.values))}"


def as_tuple(values: Any) -> tuple[Any, ...]:
    """Return the values of a condition, of which there may be a single one."""
    return tuple(values) if isinstance(values, list | tuple) else (values,)


def names(name: str, conditions: Sequence[Condition]) -> list[str]:
    """Return the names that a hyperparameter may have in a study, the one to try first in front.

    Optuna allows a name one kind of values in a study, and KerasTuner one kind per condition.
    """
    return [name] if not conditions else [name, _APART.join([name, *map(str, conditions)])]


def plain(name: str, values: Mapping[str, Any]) -> str:
    """Return the name of a hyperparameter without the conditions that tell it from others.

    Args:
        name: The name in a study. What stands before conditions may be part of a plain name, too.
        values: The values of the trial, without which a condition could not be met.
    """
    for parent, value in values.items():
        before, apart, listed = name.rpartition(f"{_APART}{parent}=")
        if apart and _is_listed(value, listed):
            return plain(before, values)
    return name


def _is_listed(value: Any, listed: str) -> bool:
    """Whether a value is among those of a condition, where 1 equals True, as in Python."""
    is_number = isinstance(value, int | float)
    return f",{value}," in f",{listed}," or (
        is_number and any(_as_number(one) == value for one in listed.split(","))
    )


def _as_number(text: str) -> float | None:
    try:
        return float({"True": "1", "False": "0"}.get(text, text))
    except ValueError:
        return None
