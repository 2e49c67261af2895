"""A grid: each configuration of a builder once, in random order, until none is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._search import space
from kerastune_optuna._search.gaussian_process import wait_for_earlier
from kerastune_optuna._search.repeats import Tree


# Optuna's BruteForceSampler(avoid_premature_stop=True) draws what another worker is still asking
# for: four workers trained 25 trials of 24 configurations, one of them twice.
class Grid(RandomSampler):
    """Draw at random, and refuse parameters with infinitely many values.

    LearningSampler makes sure that no configuration is drawn twice.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self._in_vain: set[int] = set()  # ids of trials that were waited for

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        wait_for_earlier(
            study, trial, lambda one: Tree(_optuna.known_trials(one)).asking, self._in_vain
        )

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        _check_finite(param_name, param_distribution)
        return super().sample_independent(study, trial, param_name, param_distribution)


def check_finite(build_model: space.Builder, functions: Sequence[Any]) -> None:
    """Call a builder once, and refuse it if a parameter has infinitely many values.

    Args:
        build_model: The builder. The model that it returns is not trained.
        functions: The functions that search() gets as data, which may ask for parameters too.

    Raises:
        ArgumentError: Names the parameter, and says what to pass.
    """

    def choose(name: str, distribution: BaseDistribution) -> Any:
        _check_finite(name, distribution)
        return space.middle(distribution)

    space.Walker(choose).walk(build_model, functions)


def _check_finite(name: str, distribution: BaseDistribution) -> None:
    space.check_choices({name: distribution}, once=True)
    if math.isinf(space.size(distribution)):
        raise ArgumentError(
            f"sampler='grid' needs finitely many values, but {name!r} "
            f"({space.described(distribution)}) has no step. Pass step= to suggest_float or "
            "hp.Float, or sampler='qmc', which spreads n_trials evenly."
        )
