"""The conditions under which KerasTuner's hyperparameters are active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_APART = " | "  # between a name and the conditions that distinguish it from the same name elsewhere


@dataclass(frozen=True)
class Condition:
    """Hold the values of a parent hyperparameter for which others are active."""

    parent: str
    values: tuple[Any, ...]

    def is_met(self, values: Mapping[str, Any]) -> bool:
        """Whether the parent is active and has one of the values."""
        return self.parent in values and values[self.parent] in self.values

    def __str__(self) -> str:
        return f"{self.parent}={','.join(map(str, self.values))}"


def as_tuple(values: Any) -> tuple[Any, ...]:
    """Return the values of a condition as a tuple; a single value need not be in a list."""
    return tuple(values) if isinstance(values, list | tuple) else (values,)


def names(name: str, conditions: Sequence[Condition]) -> list[str]:
    """Return the names that a hyperparameter may have in a study, in the order to try them.

    In an Optuna study, a name can have one distribution; in KerasTuner, one for each condition.
    """
    return [name] if not conditions else [name, _APART.join([name, *map(str, conditions)])]


def plain(name: str, values: Mapping[str, Any]) -> str:
    """Return the name of a hyperparameter without the conditions that `names` appended.

    Args:
        name: The name in a study, in which " | " may also be part of the user's name.
        values: The values of the trial, which the conditions must match.
    """
    for parent, value in values.items():
        before, apart, listed = name.rpartition(f"{_APART}{parent}=")
        if apart and _is_listed(value, listed):
            return plain(before, values)
    return name


def _is_listed(value: Any, listed: str) -> bool:
    """Whether a value is among the listed values of a condition; 1 equals True, as in Python."""
    is_number = isinstance(value, int | float)
    return f",{value}," in f",{listed}," or (
        is_number and any(_as_number(one) == value for one in listed.split(","))
    )


def _as_number(text: str) -> float | None:
    try:
        return float({"True": "1", "False": "0"}.get(text, text))
    except ValueError:
        return None
