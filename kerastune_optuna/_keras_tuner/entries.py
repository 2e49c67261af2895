"""The hyperparameters that a builder for KerasTuner has asked for, and when they are active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from optuna.distributions import BaseDistribution

from kerastune_optuna import _check
from kerastune_optuna._keras_tuner.conditions import Condition

Key: TypeAlias = tuple[str, tuple[Condition, ...]]

# Names of KerasTuner's hyperparameters that an entry does not have.
_GONE = "from_config from_proto get_config max_value min_value ordered prob_to_value random_sample "
_GONE += "sampling step to_proto value value_to_prob values"
_INSTEAD = "Its `distribution` is Optuna's, with `low`, `high` and `step`, or with `choices`."


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

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether all conditions are met."""
        return all(condition.is_met(values) for condition in self.conditions)

    if not TYPE_CHECKING:  # with __getattr__, a type checker would accept any attribute

        def __getattr__(self, name):
            """Raise an error that says what replaces a name of KerasTuner's."""
            hints = dict.fromkeys(_GONE.split(), _INSTEAD)
            return _check.absent(self, "An entry of hp.space", name, hints, "KerasTuner's")


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
