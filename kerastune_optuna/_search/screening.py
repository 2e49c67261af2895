"""The pruner of a search that begins with short trials: it compares beginnings, then curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._search import space
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._study import RETRY_OF

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# Chosen with tests/benchmarks/samplers.py, on recorded curves and on tasks of LCBench.
_LEAST_TRIALS, _LEAST_EPOCHS = 15, 20  # of a search that begins with short trials, and of a trial
_LEAST_CONFIGURATIONS = 50  # of a trial's parameters: of a few, each is tried once and counts
_SCREENED = 6  # trials, none of which goes on
_COMPARED = 12  # trials; those after them go on, so that a search hands out a model
_BEST = 4  # of so many beginnings, the best one goes on
_SHARE = 10  # a beginning is one epoch of so many
_FEWEST_EPOCHS = 4  # of a beginning: after two, networks on digits and letters were taken wrongly


def may_screen(study: optuna.Study, n_trials: int | None, epochs: int) -> bool:
    """Whether a search is long enough for short trials, and has nothing yet to compare others with.

    Args:
        study: The study.
        n_trials: How many trials it is to have; None for no limit.
        epochs: How many epochs a trial has.
    """
    if n_trials is None or n_trials < _LEAST_TRIALS or epochs < _LEAST_EPOCHS:
        return False
    return not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


class AutoPruner(optuna.pruners.BasePruner):
    """Let one of the best beginnings train to its end first, and prune the rest by its curve.

    A trial that trains to its end costs as much as ten beginnings, and a configuration that was
    drawn at random is seldom worth it. So the first six trials end after a tenth of their epochs,
    four at least; each of the next six goes on there if it is in the best quarter of all
    beginnings. Once a trial is COMPLETE, WilcoxonPruner decides alone. A trial that was enqueued is
    its user's choice, and goes on; so does one of a space of a few configurations.

    Args:
        epochs: Of a trial.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._beginning = max(_FEWEST_EPOCHS, epochs // _SHARE)
        self._wilcoxon = WilcoxonPruner()

    @property
    def line(self) -> str:
        """What a user may wonder about."""
        return (
            f"Pruner: the first {_SCREENED} trials end after {self._beginning} of {self._epochs} "
            "epochs, and of later ones those that begin best go on"
        )

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to end the trial."""
        may_be_screened = _place_of(trial) < _COMPARED and self._has_just_begun(trial)
        if may_be_screened and _is_screened(study, trial):
            return True
        return self._wilcoxon.prune(study, trial)

    def _has_just_begun(self, trial: FrozenTrial) -> bool:
        """Whether the last report is the first one after the epochs of a beginning."""
        epochs = sorted(trial.intermediate_values)
        over = [epoch for epoch in epochs if epoch - epochs[0] + 1 >= self._beginning]
        return len(over) == 1


def _place_of(trial: FrozenTrial) -> int:
    """Return a trial's number; one that is run again has the place of the one that was cut off."""
    place: int = trial.user_attrs.get(RETRY_OF, trial.number)
    return place


def _is_screened(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a trial ends with its beginning."""
    trials = study.get_trials(deepcopy=False)
    if any(one.state is TrialState.COMPLETE for one in trials):
        return False
    if trials[_place_of(trial)].system_attrs.get(_optuna.FIXED_PARAMS):
        return False
    if math.prod(map(space.size, trial.distributions.values())) < _LEAST_CONFIGURATIONS:
        return False
    if _place_of(trial) < _SCREENED:
        return True
    last = max(trial.intermediate_values)
    begun = [one for one in trials if max(one.intermediate_values, default=-1) >= last]
    sign = -1 if study.direction is StudyDirection.MAXIMIZE else 1
    own = _best_until(last, trial, sign)
    rank = 1 + sum(_best_until(last, one, sign) < own for one in begun)
    return rank > max(1, len(begun) / _BEST)


def _best_until(last: int, trial: FrozenTrial, sign: int) -> float:
    """Return the best finite report up to an epoch, as a number of which less is better."""
    reports = [value for epoch, value in trial.intermediate_values.items() if epoch <= last]
    return min((sign * one for one in reports if math.isfinite(one)), default=math.inf)
