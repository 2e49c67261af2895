"""The entries of a space: what a builder for KerasTuner has asked for, and when it is active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution

from kerastune_optuna._keras_tuner.conditions import Condition

Key: TypeAlias = tuple[str, tuple[Condition, ...]]


@dataclass(frozen=True)
class Entry:
    """Hold what was asked under a name, and the conditions under which it is active.

    Args:
        name: Its whole name.
        conditions: All of them must be met for it to have a value.
        default: Its value where no trial gives one.
        distribution: What Optuna draws it from.
    """

    name: str
    conditions: tuple[Condition, ...]
    default: Any
    distribution: BaseDistribution

    @property
    def key(self) -> Key:
        """The key that tells it from entries that have its name under other conditions."""
        return self.name, self.conditions

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether its conditions are met."""
        return all(condition.is_met(values) for condition in self.conditions)


class FirstRanges:
    """Hold the first entry of each name and conditions, which all trials of a builder keep."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._fixed: frozenset[Key] | None = None

    @property
    def are_known(self) -> bool:
        """Whether the model of the defaults was built, whose ranges do not depend on chance."""
        return self._fixed is not None

    def fix(self) -> None:
        """Note that what was asked so far was asked by the model of the defaults."""
        self._fixed = frozenset(self._entries)

    def of(self, entry: Entry) -> Entry:
        """Return the first entry with the name and the conditions of another."""
        return self._entries.setdefault(entry.key, entry)

    def may_differ(self, entry: Entry) -> bool:
        """Whether another process may have met another branch of the builder first."""
        return self._fixed is not None and entry.key not in self._fixed
