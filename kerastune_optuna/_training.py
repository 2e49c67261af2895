"""One training of a trial: its callbacks in their order, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import optuna
from optuna.trial import TrialState

from kerastune_optuna import _own_fit
from kerastune_optuna._archive import Archive
from kerastune_optuna._backup import Backup
from kerastune_optuna._callbacks import BestWeights
from kerastune_optuna._history import EpochLogs
from kerastune_optuna._hparams import for_boards
from kerastune_optuna._one_objective import watched_alone
from kerastune_optuna._recipe import Recipe
from kerastune_optuna._series import Series
from kerastune_optuna._stop import StopOnRequest
from kerastune_optuna._stopwatch import Stopwatch
from kerastune_optuna._user_callbacks import may_add_metrics


@dataclass(frozen=True)
class Task:
    """Hold what the trainings of one trial share."""

    study: optuna.Study
    trial: optuna.Trial
    recipe: Recipe
    series: Series
    archive: Archive


class Training:
    """Hold the callbacks of one training, in the order in which they are called."""

    def __init__(self, task: Task, recipe: Recipe) -> None:
        self.of_user = recipe.callbacks
        objectives, limit = recipe.objectives, recipe.constraints.max_seconds
        shown = watched_alone(task.trial, objectives)
        self.pruning = _own_fit.pruning_for(recipe.build_model, shown, objectives.watched)
        self.pruning.join(task.series)
        stop = StopOnRequest(self.pruning.break_off)
        self.watch = Stopwatch(self.pruning, limit, task.series.seconds)
        self.best = BestWeights(self.pruning)
        self.logs = EpochLogs()
        boards = for_boards(self.of_user, task.trial, self.pruning)
        ours = [self.pruning, self.best, self.logs]
        self.callbacks = [stop, self.watch, *self.of_user, *ours, *boards]
        if recipe.backup_every is not None:
            kept = (self.pruning, self.best, self.logs, self.watch)
            self.callbacks.append(Backup(task.archive, task.series, *kept, recipe.backup_every))
        keywords = {**recipe.fit.as_keywords(), "verbose": 0, "callbacks": self.callbacks}
        self.fit = partial(_own_fit.fit, recipe.build_model, task.trial, self.pruning, keywords)

    @property
    def came_to_its_end(self) -> bool:
        """Whether it has a value and was not pruned."""
        return self.state is TrialState.COMPLETE

    @property
    def state(self) -> TrialState:
        """How the trial ends if this training is its last."""
        if self.pruning.best_value is None:
            return TrialState.FAIL if self.pruning.reason is None else TrialState.PRUNED
        return TrialState.PRUNED if self.pruning.pruned else TrialState.COMPLETE

    @property
    def logs_of_best_epoch(self) -> Mapping[str, Any]:
        """What Keras logged at the best epoch, or what the builder's own fit returned."""
        best = (row for row in self.logs.rows if row["epoch"] == self.pruning.best_epoch)
        return _own_fit.returned(self.pruning) or next(best, {})


def make_ready(model: keras.Model, recipe: Recipe, training: Training, *, check: bool) -> None:
    """Let the model train fast, after a look at its metrics where that is asked for."""
    recipe.make_ready(model, training.callbacks)
    if check and not _own_fit.trains_itself(recipe.build_model):
        _check_objectives(model, recipe)


def _check_objectives(model: keras.Model, recipe: Recipe) -> None:
    """Raise before any training where the model will not log an objective."""
    own_step = type(model).train_step is not keras.Model.train_step
    metrics = [one for one in recipe.objectives.metrics if one.needs_validation or not own_step]
    if may_add_metrics(recipe.callbacks) or not metrics:
        return  # only the first epoch can tell
    logs = recipe.fit.evaluate_once(model)
    names = set(logs)
    if recipe.fit.has_validation:
        names |= {f"val_{name}" for name in logs}
    for one in metrics:
        if one.find(names) is None:
            raise one.missing(names)
