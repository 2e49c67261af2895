"""A grid: each configuration of a builder once, in an order of chance, until none is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._search import space
from kerastune_optuna._search.together import together


class Grid(RandomSampler):
    """Draw by chance, and refuse what has no end of values; LearningSampler repeats nothing."""

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        _check_end(param_name, param_distribution)
        return super().sample_independent(study, trial, param_name, param_distribution)


def check_ends(build_model: space.Builder, functions: Sequence[Any]) -> None:
    """Refuse a builder that asks for a parameter without an end of values, by one call of it.

    Args:
        build_model: The builder. Nothing that it returns is trained.
        functions: The functions that search() gets as data, which may ask for parameters too.

    Raises:
        ArgumentError: Names the parameter, and says what to pass.
    """

    def choose(name: str, distribution: BaseDistribution) -> Any:
        _check_end(name, distribution)
        return space.middle(distribution)

    space.walk(together(build_model, functions), space.Walker(choose))


def _check_end(name: str, distribution: BaseDistribution) -> None:
    space.check_choices(name, distribution, once=True)
    if math.isinf(space.size(distribution)):
        raise ArgumentError(
            f"sampler='grid' needs an end of values, and {name!r} "
            f"({space.described(distribution)}) has none. Pass step= to suggest_float or hp.Float, "
            "or sampler='qmc', which spreads n_trials evenly."
        )
