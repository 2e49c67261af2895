"""The pruner of a search that begins with short trials: it compares beginnings, then curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._search import space
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._study import TrialRecord, retry, sign_of

# Chosen with tests/benchmarks/samplers.py, on recorded curves and on tasks of LCBench.
_LEAST_TRIALS, _LEAST_EPOCHS = 15, 12  # of a search that begins with short trials, and of a trial
_LEAST_CONFIGURATIONS = 50  # or twice the trials: each is tried once, so that what ends is lost
_SCREENED = 6  # trials, none of which goes on
_COMPARED = 12  # trials; those after them go on, so that a search hands out a model
_BEST = 4  # of so many beginnings, the best one goes on
_SHARE = 10  # a beginning is one epoch of so many
_FEWEST_EPOCHS = 3  # of a beginning: after two, networks on digits and letters were taken wrongly
_MOST = 0.25  # of a trial's epochs; the first validation may come later than this


def may_screen(study: optuna.Study, n_trials: int | None, epochs: int) -> bool:
    """Whether a search is long enough for short trials, and has nothing yet to compare others with.

    A search of several objectives is not: a trial that ends early has no value of the others.

    Args:
        study: The study.
        n_trials: How many trials it is to have; None for no limit.
        epochs: How many epochs a trial has, all its trainings counted.
    """
    is_short = n_trials is None or n_trials < _LEAST_TRIALS or epochs < _LEAST_EPOCHS
    if is_short or len(study.directions) > 1:
        return False
    trials = study.get_trials(deepcopy=False)
    return len(trials) < _COMPARED and not any(one.state is TrialState.COMPLETE for one in trials)


class AutoPruner(optuna.pruners.BasePruner):
    """Let one of the best beginnings train to its end first, and prune the rest by its curve.

    A trial that trains to its end costs as much as ten beginnings, and a configuration that was
    drawn at random is seldom worth it. So the first six trials end after a tenth of their epochs,
    three at least; each of the next six goes on there if it is in the best quarter of all
    beginnings. Once a trial is COMPLETE, WilcoxonPruner decides alone.

    A trial that was enqueued is its user's choice, and goes on. So do all where configurations are
    few, and once a trial broke a constraint or diverged: too few might be left to hand out a model.

    Args:
        n_trials: Of the study.
        epochs: Of a trial, all its trainings counted.
    """

    def __init__(self, n_trials: int, epochs: int) -> None:
        self._fewest = max(_LEAST_CONFIGURATIONS, 2 * n_trials)
        self._epochs = epochs
        self._beginning = max(_FEWEST_EPOCHS, epochs // _SHARE)
        self._wilcoxon = WilcoxonPruner()

    @property
    def line(self) -> str:
        """What a user may wonder about."""
        return (
            f"Pruner: until a trial is COMPLETE, the first {_SCREENED} end after {self._beginning} "
            f"of {self._epochs} epochs, and later ones that begin no better"
        )

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to end the trial."""
        is_early = trial.number < _COMPARED or TrialRecord(trial).retry_of is not None
        if is_early and self._has_just_begun(trial) and self._is_screened(study, trial):
            return True
        return self._wilcoxon.prune(study, trial)

    def _has_just_begun(self, trial: FrozenTrial) -> bool:
        """Whether the last report is the first one after the epochs of a beginning."""
        ran = [epoch + 1 for epoch in trial.intermediate_values]
        over = [epochs for epochs in ran if epochs >= self._beginning]
        return len(over) == 1 and over[0] <= _MOST * self._epochs

    def _is_screened(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial ends with its beginning."""
        trials = study.get_trials(deepcopy=False)
        first = retry.first_try(trial, trials)
        may_all_go_on = any(map(_allows_all, trials)) or first.number >= _COMPARED
        if may_all_go_on or TrialRecord(first).fixed_params:
            return False
        if math.prod(map(space.size, trial.distributions.values())) < self._fewest:
            return False
        return first.number < _SCREENED or _begins_badly(study, trial, trials)


def _allows_all(trial: FrozenTrial) -> bool:
    record, is_complete = TrialRecord(trial), trial.state is TrialState.COMPLETE
    return is_complete or record.breaks_constraint or record.diverged is not None


def _begins_badly(study: optuna.Study, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    last = max(trial.intermediate_values)
    begun = [one for one in trials if max(one.intermediate_values, default=-1) >= last]
    sign = sign_of(study.direction.name.lower())
    own = _best_until(last, trial, sign)
    rank = 1 + sum(_best_until(last, one, sign) < own for one in begun)
    return math.isinf(own) or rank > len(begun) / _BEST


def _best_until(last: int, trial: FrozenTrial, sign: int) -> float:
    """Return the best finite report up to an epoch, as a number of which less is better."""
    reports = [value for epoch, value in trial.intermediate_values.items() if epoch <= last]
    return min((sign * one for one in reports if math.isfinite(one)), default=math.inf)
