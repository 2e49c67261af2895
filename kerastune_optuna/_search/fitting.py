"""Configurations of other studies, fitted to what a builder asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial

from kerastune_optuna import _check
from kerastune_optuna._search import space
from kerastune_optuna._search.together import together


class Fit(NamedTuple):
    """Hold what a builder takes of a configuration."""

    params: dict[str, Any]  # as Optuna stores them
    ranges: dict[str, BaseDistribution]  # of all that the builder asks for
    is_whole: bool  # whether that is all, and nothing of the configuration is left over

    def as_trial(self, value: float) -> FrozenTrial:
        """Return a COMPLETE trial of these parameters."""
        return create_trial(params=self.params, distributions=self.ranges, value=value)


class Fitting:
    """Fit configurations to a builder, which is called once for each set of names.

    Args:
        build_model: The builder.
        functions: The functions that search() gets as data, and that may ask for parameters.
    """

    def __init__(self, build_model: space.Builder, functions: Sequence[Any]) -> None:
        self._build_model = together(build_model, functions)
        self._ranges: dict[frozenset[str], dict[str, BaseDistribution]] = {}
        self.asked: dict[str, BaseDistribution] = {}  # all that the builder has asked for

    def fit(self, params: Mapping[str, Any]) -> Fit:
        """Return what the builder takes of a configuration."""
        names = frozenset(params)
        if names not in self._ranges:
            self._ranges[names] = self._learned(params)
            self.asked |= self._ranges[names]
        ranges = self._ranges[names]
        taken = {
            name: one.to_external_repr(one.to_internal_repr(params.get(name)))
            for name, one in ranges.items()
            if _check.allows(one, params.get(name))  # None may be a choice, which tables leave out
        }
        return Fit(taken, ranges, taken.keys() == ranges.keys() >= params.keys())

    def _learned(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Return what the builder asks for with these parameters."""

        def choose(name: str, distribution: BaseDistribution) -> Any:
            value = params.get(name)
            return value if _check.allows(distribution, value) else space.middle(distribution)

        walker = space.Walker(choose)
        space.walk(self._build_model, walker)
        return walker.distributions
