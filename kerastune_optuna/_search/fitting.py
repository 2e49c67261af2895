"""Configurations of other studies, fitted to the parameters that a builder asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial

from kerastune_optuna import _check
from kerastune_optuna._search import space


class Fit(NamedTuple):
    """Hold the part of a configuration that a builder can use."""

    params: dict[str, Any]  # as Optuna stores them
    ranges: dict[str, BaseDistribution]  # of all parameters that the builder asks for
    is_whole: bool  # whether `params` has all of these, and the configuration has no others

    def as_trial(self, value: float) -> FrozenTrial:
        """Return a COMPLETE trial of these parameters."""
        return create_trial(params=self.params, distributions=self.ranges, value=value)


class Fitting:
    """Fit configurations to a builder, which is called once for each set of parameter names.

    Args:
        build_model: The builder.
        functions: The functions that search() gets as data, which may ask for parameters too.
    """

    def __init__(self, build_model: space.Builder, functions: Sequence[Any]) -> None:
        self._build_model, self._functions = build_model, functions
        self._ranges: dict[frozenset[str], dict[str, BaseDistribution]] = {}
        self.asked: dict[str, BaseDistribution] = {}  # all parameters that the builder asked for

    def fit(self, params: Mapping[str, Any]) -> Fit:
        """Return the part of a configuration that the builder can use."""

        def choose(name: str, distribution: BaseDistribution) -> Any:
            value = params.get(name)
            return value if _check.allows(distribution, value) else space.middle(distribution)

        names = frozenset(params)
        if names not in self._ranges:
            walker = space.Walker(choose).walk(self._build_model, self._functions)
            self._ranges[names] = walker.distributions
            self.asked |= walker.distributions
        ranges = self._ranges[names]
        taken = {
            name: one.to_external_repr(one.to_internal_repr(params.get(name)))
            for name, one in ranges.items()
            if _check.allows(one, params.get(name))  # a missing value may stand for the choice None
        }
        return Fit(taken, ranges, taken.keys() == ranges.keys() >= params.keys())
