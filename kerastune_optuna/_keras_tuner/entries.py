"""The hyperparameters that a builder for KerasTuner has asked for, and when they are active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution

_APART = " | "  # between a name and the conditions that distinguish it from the same name elsewhere


@dataclass(frozen=True)
class Condition:
    """Hold the values of a parent hyperparameter for which others are active."""

    parent: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.parent}={','.join(map(str, self.values))}"


Key: TypeAlias = tuple[str, tuple[Condition, ...]]


@dataclass(frozen=True)
class Entry:
    """Hold a hyperparameter, and the conditions under which it is active.

    Args:
        name: The whole name, including scopes.
        conditions: The conditions that must all be met for the hyperparameter to have a value.
        default: The value without a trial.
        distribution: The distribution from which Optuna draws the value.
    """

    name: str
    conditions: tuple[Condition, ...]
    default: Any
    distribution: BaseDistribution

    @property
    def key(self) -> Key:
        """The key that distinguishes the entry from others with the same name."""
        return self.name, self.conditions

    @property
    def names(self) -> list[str]:
        """The names that it may have in a study, in the order to try them.

        In an Optuna study, a name can have one distribution; in KerasTuner, one for each condition.
        """
        longer = _APART.join([self.name, *map(str, self.conditions)])
        return [self.name, longer] if self.conditions else [self.name]

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether each condition is met: its parent is active and has one of the values."""
        return all(
            one.parent in values and values[one.parent] in one.values for one in self.conditions
        )


@dataclass
class FirstRanges:
    """Hold the first entry for each name and conditions, which all trials of a builder use.

    Args:
        entries: These entries. Another process may have met others first, unless they are fixed.
        fixed: The keys of those that come from building the model with the defaults, and so do not
            depend on chance; None before that model was built.
    """

    entries: dict[Key, Entry] = field(default_factory=dict)
    fixed: frozenset[Key] | None = None


def plain_name(name: str, values: Mapping[str, Any]) -> str:
    """Return the name of a hyperparameter without the conditions that `Entry.names` appended.

    Args:
        name: The name in a study, in which " | " may also be part of the user's name.
        values: The values of the trial, among which are those of all parents.
    """
    for parent in values:
        before, apart, _ = name.rpartition(f"{_APART}{parent}=")
        if apart:
            return plain_name(before, values)
    return name
