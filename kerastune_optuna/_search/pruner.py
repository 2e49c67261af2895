"""The default pruner, and a study of several objectives as pruners see it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import rankdata, wilcoxon

from kerastune_optuna._study import Objectives, TrialRecord, sign_of

_MOMENT = 0.5  # seconds for which we keep the reports of the best trial: reading it is a query
# Chosen with tests/benchmarks/pruners.py, and for long trials with its samplers.py and jobs: there,
# what leads after three epochs is often overtaken.
_P_THRESHOLD, _P_OF_LONG = 0.2, 0.05
_LONG = 12  # epochs of a trial
# The most differences for which SciPy computes exact p-values, with and without ties.
_MOST_COUNTED, _MOST_COUNTED_UNTIED = 13, 50  # differences


class WilcoxonPruner(optuna.pruners.BasePruner):  # Optuna's name for it, which users know
    """Prune a trial whose curve is worse than that of the best trial, epoch by epoch.

    Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945) compares the two curves, from the
    third epoch on, or from the fifth on with a threshold of 0.05. Until a trial is COMPLETE, no
    trial is pruned.

    A trial that has had a better epoch than the best trial is not pruned: it would have no value.
    Otherwise this pruner decides as Optuna's WilcoxonPruner does, but in a fraction of a
    millisecond. Accuracies on few rows have ties. With ties, SciPy, which Optuna's pruner calls,
    tries all signs of up to 13 differences, which takes 640 ms at each epoch.

    Unlike Optuna's, it does not check its argument, since only this package makes it, and does not
    warn of reports that are missing or infinite: it just prunes nothing by them.

    Args:
        epochs: How many epochs a trial has, over all its trainings. Default 1.
        p_threshold: The p-value below which a trial is pruned. Default None: 0.2, or 0.05 for
            trials of 12 epochs and more.
    """

    def __init__(self, epochs: int = 1, p_threshold: float | None = None) -> None:
        usual = _P_OF_LONG if epochs >= _LONG else _P_THRESHOLD
        self._p_threshold = usual if p_threshold is None else p_threshold
        # The trial that asked last, until when its answer holds, and the reports of the best trial.
        self._cached: tuple[object, float, dict[int, float]] = (None, 0.0, {})

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to end the trial."""
        asks = study.study_name, trial.number, trial.datetime_start
        asked, until, best = self._cached
        if asked != asks or time.monotonic() > until:
            try:
                best = study.best_trial.intermediate_values
            except ValueError:  # no trial is COMPLETE
                best = {}
            self._cached = asks, time.monotonic() + _MOMENT, best
        own = trial.intermediate_values
        if not all(map(math.isfinite, [*own.values(), *best.values()])):
            return False
        sign = sign_of(study.direction)
        worse = [sign * (own[step] - best[step]) for step in sorted(own) if step in best]
        if len(worse) < 2 or _chance(worse) >= self._p_threshold:
            return False
        if min(sign * one for one in own.values()) < min(sign * one for one in best.values()):
            return False  # its best epoch is better than that of the best trial
        # Exactly as in Optuna: if the best trial is worse in the mean, the curves of this study
        # cross, and an early comparison says little.
        return sign * sum(own.values()) / len(own) > sign * sum(best.values()) / len(best)


def _chance(worse: Sequence[float]) -> float:
    """Return the p-value: how likely such differences are if neither curve is worse."""
    tie = len({0.0, *map(abs, worse)}) <= len(worse)  # two are equal in size, or one is 0
    if len(worse) > (_MOST_COUNTED if tie else _MOST_COUNTED_UNTIED):
        return float(wilcoxon(worse, alternative="greater", zero_method="zsplit").pvalue)
    differences = np.array(worse)
    # Doubled, since tied ranks may end in .5, and an array is indexed by whole numbers.
    ranks = (2 * rankdata(np.abs(differences))).astype(int)
    # ways[n] counts the choices of signs, for the differences that are not 0, for which the ranks
    # of the positive ones add up to n.
    ways = np.zeros(ranks.sum() + 1)
    ways[0] = 1
    for rank in ranks[differences != 0]:
        ways[rank:] = ways[rank:] + ways[:-rank]
    return float(ways[ranks[differences > 0].sum() :].sum() / ways.sum())


def watched_alone(trial: optuna.Trial, objectives: Objectives) -> optuna.Trial:
    """Return a trial of several objectives as part of a study of only the watched objective.

    As it is, it cannot be pruned: with several objectives, Optuna refuses to report and to prune,
    although its storages keep the reports of any trial. The returned trial and the given one share
    one stored trial: each sees what is written to the other.
    """
    study, shown = trial.study, copy.copy(trial)
    storage = cast(BaseStorage, _StorageOfOne(trial, objectives))
    shown.study = optuna.Study(study.study_name, storage, study.sampler, study.pruner)
    return shown


@dataclass
class _StorageOfOne:
    """Wrap the storage, and show only the watched objective: its direction and its values.

    If the size or the FLOPs of models are an objective, a trial is compared only with trials whose
    models are no larger: a trial that is worse than a larger one may still be on the front.
    """

    _trial: optuna.Trial
    _objectives: Objectives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial.storage, name)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [self._objectives.watched.of_study]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        sizes, own = self._objectives.sizes, TrialRecord(self._trial)
        found = []
        for trial in self._trial.storage.get_all_trials(study_id, deepcopy, states):
            other = TrialRecord(trial)
            pairs = [(getattr(own, size), getattr(other, size)) for size in sizes]
            is_rival = all(mine is None or its is None or its <= mine for mine, its in pairs)
            if not is_rival and trial.number != self._trial.number:
                continue
            if trial.state is TrialState.COMPLETE:
                trial = copy.copy(trial)
                trial.values = [self._objectives.watched.value_of(trial)]
            found.append(trial)
        return found

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        # Optuna's method calls the two methods above for the direction and the trials.
        return BaseStorage.get_best_trial(cast(BaseStorage, self), study_id)
