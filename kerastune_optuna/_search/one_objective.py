"""A study of several objectives, shown to pruners as one of a single objective."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._study import Objectives, TrialRecord


def watched_alone(trial: optuna.Trial, objectives: Objectives) -> optuna.Trial:
    """Return the trial as part of a study of only the watched objective, so that it can be pruned.

    With several objectives, Optuna refuses to report and to prune, although its storages keep the
    reports of any trial. The returned trial and the given one share one stored trial: each sees
    what is written to the other.
    """
    if not objectives.are_several:
        return trial
    study, shown = trial.study, copy.copy(trial)
    storage = cast(BaseStorage, _StorageOfOne(trial, objectives))
    shown.study = optuna.Study(study.study_name, storage, study.sampler, study.pruner)
    return shown


class _StorageOfOne:
    """Wrap the storage, and show only the watched objective: its direction and its values.

    If the size or the FLOPs of models are an objective, a trial is compared only with trials whose
    models are no larger: a trial that is worse than a larger one may still be on the front.
    """

    def __init__(self, trial: optuna.Trial, objectives: Objectives) -> None:
        self._trial = trial
        self._objectives = objectives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial.storage, name)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [self._objectives.watched.of_study]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._trial.storage.get_all_trials(study_id, deepcopy, states)
        return [self._shown(one) for one in trials if self._is_rival(one)]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        # Optuna's method calls the two methods above for the direction and the trials.
        return BaseStorage.get_best_trial(cast(BaseStorage, self), study_id)

    def _is_rival(self, other: FrozenTrial) -> bool:
        if other.number == self._trial.number:
            return True
        records = TrialRecord(self._trial), TrialRecord(other)
        pairs = [[getattr(one, size) for one in records] for size in self._objectives.sizes]
        return all(mine is None or its is None or its <= mine for mine, its in pairs)

    def _shown(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.state is not TrialState.COMPLETE:
            return trial
        shown = copy.copy(trial)
        shown.values = [self._objectives.watched.value_of(trial)]
        return shown
