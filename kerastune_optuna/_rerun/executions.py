"""Executions: configurations of a search, enqueued to be trained again with new seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._exceptions import BuilderError
from kerastune_optuna._search import Budget, StopConditions, defaults_of
from kerastune_optuna._study import Card, Objective, TrialRecord, derive, lay_out
from kerastune_optuna._workers import Run

# What identifies an execution: the number of the trial that it confirms, and its seed.
Key: TypeAlias = tuple[int | None, int | None]


class NoSampler(RandomSampler):
    """Sample nothing, since the parameters of executions are fixed.

    Args:
        defaults: Values of parameters that the builder did not ask for during the search.
    """

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        super().__init__()
        self._defaults = defaults

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if param_name in self._defaults:
            return self._defaults[param_name]
        raise BuilderError(
            f"build_model asks for {param_name!r}, which trial {TrialRecord(trial).confirms} "
            "of the search did not have: build_model has changed since. Give the parameter a "
            f"value with build_model.default_params = lambda: {{{param_name!r}: ...}}, restore "
            "the builder, or search again with overwrite=True."
        )


def executions(study: optuna.Study) -> dict[Key, FrozenTrial]:
    """Return the trial that counts for each execution: the first one that did not fail, if any.

    An execution may have several trials, if two processes enqueued it or a trial failed and was
    retried. Optuna numbers trials in the order of their creation, so every process finds the same
    first one.
    """
    found: dict[Key, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        key = TrialRecord(trial).confirms, TrialRecord(trial).seed
        before = found.get(key)
        if before is None or before.state is TrialState.FAIL:
            found[key] = trial
    return found


def asked_for(chosen: Sequence[FrozenTrial], count: int) -> dict[Key, FrozenTrial]:
    """Return the requested executions of some configurations, in the order of training.

    Args:
        chosen: The trials of the search that had these configurations.
        count: The number of executions of each configuration.

    Returns:
        The trial of the search by the key of each execution.
    """
    asked: dict[Key, FrozenTrial] = {}
    for nth in range(count):
        for trial in chosen:
            seed = TrialRecord(trial).seed
            # The same in each process, but not one of the search.
            own = derive(trial.number if seed is None else seed, nth)
            asked[trial.number, own] = trial
    return asked


def lay_out_missing(study: optuna.Study, wanted: Mapping[Key, FrozenTrial]) -> None:
    """Enqueue the requested executions that a study lacks, or of which every trial failed."""
    states = {key: one.state for key, one in executions(study).items()}
    for (number, seed), trial in wanted.items():
        if states.get((number, seed), TrialState.FAIL) is TrialState.FAIL:
            own = {TrialRecord.confirms: number, TrialRecord.seed: seed}
            lay_out(study, trial.params, user_attrs=own)


def laid_out(study: optuna.Study, keys: Collection[Key]) -> list[FrozenTrial]:
    """Return the executions with these keys, sorted by trial number."""
    wanted = [one for key, one in executions(study).items() if key in keys]
    return sorted(wanted, key=lambda one: one.number)


def best_of_each(study: optuna.Study, objective: Objective) -> dict[int | None, FrozenTrial]:
    """Return the best execution of each configuration, by the number of the search's trial.

    Of equal executions the earliest one counts, so that only a better one replaces it later.
    """
    complete = [one for one in executions(study).values() if one.state is TrialState.COMPLETE]
    complete.sort(key=lambda one: (objective.cost(one.values[0]), one.number), reverse=True)
    return {TrialRecord(one).confirms: one for one in complete}


def train_laid_out(
    run: Run,
    study: optuna.Study,
    card: Card,
    keep_best: int,
    size: int,
    keys: Collection[Key],
) -> None:
    """Train executions with fixed parameters and seeds, without pruning.

    Args:
        run: The run that trains; its budget limits how many trials may fail in a row.
        study: The study of executions.
        card: Their card.
        keep_best: How many of them keep their weights.
        size: The number of executions that the study should have in the end.
        keys: The keys of the executions to train.
    """
    study.sampler, study.pruner = NoSampler(defaults_of(run.recipe.build_model)), NopPruner()
    most = run.budget.conditions.max_failed_trials
    conditions = StopConditions(max_failed_trials=most, train_repeats=True)
    budget = Budget(size, conditions, partial(laid_out, keys=frozenset(keys)))
    replace(run, budget=budget).go(study, card, keep_best)
