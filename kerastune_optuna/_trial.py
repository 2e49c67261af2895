"""One trial: build, fit, score, and keep the weights where they rank."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _backup, _history, _own_fit, _repeats, _weights
from kerastune_optuna._archive import Archive
from kerastune_optuna._backup import Backup, UnfitBackupError
from kerastune_optuna._callbacks import BestWeights
from kerastune_optuna._exceptions import StorageError, WeightsError
from kerastune_optuna._fit import FitArguments
from kerastune_optuna._history import EpochLogs
from kerastune_optuna._hparams import for_boards
from kerastune_optuna._kept import discard_outranked, enters_best, save
from kerastune_optuna._memory import Memory
from kerastune_optuna._recipe import Recipe, build
from kerastune_optuna._seeds import seed_of, set_all
from kerastune_optuna._series import Series
from kerastune_optuna._steps import lean_graphs
from kerastune_optuna._stop import StopOnRequest
from kerastune_optuna._user_callbacks import may_add_metrics

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class _Outcome:
    """Hold what a training came to, and what went wrong after its result was known."""

    state: TrialState
    value: float | None = None
    error: WeightsError | None = None


@dataclass(frozen=True)
class _Task:
    """Hold what the trainings of one trial share."""

    study: optuna.Study
    trial: optuna.Trial
    recipe: Recipe
    series: Series
    archive: Archive


def run_trial(
    study: optuna.Study, trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool
) -> FrozenTrial:
    """Train one configuration and tell the study how it ended.

    Args:
        study: The study that asked the trial.
        trial: The running trial.
        recipe: What all trials share.
        memory: Releases what a training leaves behind before the next one of the same trial.
        check: Whether to look for the objective among the metrics before training.

    Returns:
        The finished trial.

    Raises:
        KeyboardInterrupt: A signal asked for the end; the trial is left RUNNING.
        StorageError: The storage is gone; the trial is left RUNNING.
        WeightsError: They cannot be saved; the trial has its result.
    """
    began = time.perf_counter()
    try:
        outcome = _train(study, trial, recipe, memory, check=check)
        trial.set_user_attr("seconds", round(time.perf_counter() - began, 3))
        finished = study.tell(trial, outcome.value, outcome.state)
    except (KeyboardInterrupt, StorageError):
        raise
    except UpdateFinishedTrialError:
        # Another machine took this one for dead, say after a long sleep, and runs the trial.
        return study._storage.get_trial(trial._trial_id)
    except BaseException as error:  # of any kind: no other trial may stay RUNNING behind us
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("stop_reason", _reason(error))
            _backup.discard(recipe.store, study.tell(trial, state=TrialState.FAIL))
        raise
    _backup.discard(recipe.store, finished)
    if _weights.has(study._storage, finished):
        discard_outranked(study, recipe)
    if outcome.error is not None:
        raise outcome.error
    return finished


def _train(
    study: optuna.Study, trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool
) -> _Outcome:
    """Train a configuration; return how the trial ended and the value of its best epoch."""
    try:
        return _train_all(study, trial, recipe, memory, check=check)
    except UnfitBackupError:
        _backup.forget(trial)
        return _train_all(study, trial, recipe, memory, check=check)


def _train_all(
    study: optuna.Study, trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool
) -> _Outcome:
    """Run the trainings of a trial that its backup does not hold yet; most trials have one."""
    series = Series(recipe.objective, recipe.n_trainings, _seed(trial, recipe))
    if series.length > 1:
        trial.set_user_attr("seeds", series.seeds)
    if recipe.card is not None:
        trial.set_user_attr("card", recipe.card)
    with tempfile.TemporaryDirectory() as folder:
        is_used = recipe.backup_every is not None
        archive = Archive(trial, recipe.store, folder, is_used=is_used)
        archive.open(series)
        task, outcome = _Task(study, trial, recipe, series, archive), None
        while outcome is None:
            # The worker releases what the only training of a trial leaves.
            with memory.released() if series.length > 1 else nullcontext():
                outcome = _build_and_fit(task, check=check and series.number == 0)
    return outcome


def _build_and_fit(task: _Task, *, check: bool) -> _Outcome | None:
    """Run one training; return how the trial ended, or None where more trainings are to come."""
    trial, series = task.trial, task.series
    set_all(series.seed)
    model, arguments = build(task.recipe.build_model, trial)
    if (known := _known(task)) is not None:
        return known
    came_built = model.built
    recipe = task.recipe.of_trial(trial, model, arguments, _folder(task), series.number)
    _note_epochs(task, recipe.fit, arguments)
    training = _Training(task, recipe)
    _fit(model, recipe, training, check=check)
    if training.stop.stopped or training.pruning.cut_off:
        raise KeyboardInterrupt
    series.add(training.pruning.outcome(), training.logs.rows, training.best.best_or_last())
    if training.came_to_its_end and not series.is_over:
        task.archive.save_between(series, training.pruning.state())
        return None
    trial.set_user_attr("n_params", model.count_params())
    return _conclude(task, training, model, came_built=came_built)


def _conclude(
    task: _Task, training: _Training, model: keras.Model, *, came_built: bool
) -> _Outcome:
    """Keep the logs of a trial, and the weights where it ranks; return how it ended."""
    trial, recipe, series = task.trial, task.recipe, task.series
    error = _history.save(recipe.store, trial, series.rows) if recipe.keep_best else None
    if not training.came_to_its_end:
        has_value = training.pruning.best_value is not None
        return _Outcome(TrialState.PRUNED if has_value else TrialState.FAIL, error=error)
    error = task.archive.error or error
    if enters_best(task.study, trial.number, series.value, recipe):
        series.restore(model)
        error = save(recipe, trial, model, came_built=came_built) or error
    return _Outcome(TrialState.COMPLETE, series.value, error)


def _known(task: _Task) -> _Outcome | None:
    """Take over the result of an earlier trial with the same parameters, if there is one."""
    if task.recipe.train_repeats or task.series.number:
        return None
    if (earlier := _repeats.find(task.study, task.trial)) is None:
        return None
    _repeats.take_over(task.trial, earlier)
    is_complete = earlier.state is TrialState.COMPLETE
    return _Outcome(earlier.state, earlier.value if is_complete else None)


def _fit(model: keras.Model, recipe: Recipe, training: _Training, *, check: bool) -> None:
    """Train the model, after a look at its metrics where that is asked for."""
    recipe.make_ready(model, training.callbacks)
    if check and not _own_fit.trains_itself(recipe.build_model):
        _check_objective(model, recipe)
    with lean_graphs(model, recipe.fit):
        training.fit(model)


class _Training:
    """Hold the callbacks of one training, in the order in which they are called."""

    def __init__(self, task: _Task, recipe: Recipe) -> None:
        self.stop = StopOnRequest()
        self.of_user = recipe.callbacks
        self.pruning = _own_fit.pruning_for(recipe.build_model, task.trial, recipe.objective)
        self.pruning.join(task.series)
        self.best = BestWeights(self.pruning)
        self.logs = EpochLogs()
        boards = for_boards(self.of_user, task.trial, self.pruning)
        self.callbacks = [self.stop, *self.of_user, self.pruning, self.best, self.logs, *boards]
        if recipe.backup_every is not None:
            own = (self.pruning, self.best, self.logs)
            self.callbacks.append(Backup(task.archive, task.series, *own, recipe.backup_every))
        keywords = {**recipe.fit.as_keywords(), "verbose": 0, "callbacks": self.callbacks}
        self.fit = partial(_own_fit.fit, recipe.build_model, task.trial, self.pruning, keywords)

    @property
    def came_to_its_end(self) -> bool:
        """Whether it has a value and was not pruned."""
        return self.pruning.best_value is not None and not self.pruning.pruned


def _seed(trial: optuna.Trial, recipe: Recipe) -> int:
    """Return the trial's own seed, which its first training has, and write it down."""
    seed = seed_of(trial, recipe.seed)
    if "seed" not in trial.user_attrs:  # where it is not the retry of another
        trial.set_user_attr("seed", seed)
    return seed


def _note_epochs(task: _Task, fit: FitArguments, arguments: Mapping[str, Any]) -> None:
    """Write down how many epochs a trial may run where its builder decides on them."""
    own, of_search = fit.epochs_of_a_trial, task.recipe.fit.epochs_of_a_trial
    task.series.begin(max(own, of_search))
    if {"epochs", "initial_epoch"}.intersection(arguments):
        task.trial.set_user_attr("epochs", own * task.series.length)


def _check_objective(model: keras.Model, recipe: Recipe) -> None:
    """Raise before any training where the model will not log the objective."""
    own_step = type(model).train_step is not keras.Model.train_step
    if may_add_metrics(recipe.callbacks) or (own_step and not recipe.objective.needs_validation):
        return  # only the first epoch can tell
    logs = recipe.fit.evaluate_once(model)
    names = set(logs)
    if recipe.fit.has_validation:
        names |= {f"val_{name}" for name in logs}
    if recipe.objective.find(names) is None:
        raise recipe.objective.missing(names)


def _folder(task: _Task) -> str:
    """Return the folder, below the user's own, for what the callbacks of a training write."""
    path = os.path.join(task.study.study_name, f"trial_{task.trial.number:04d}")
    if task.series.length == 1:
        return path
    return os.path.join(path, f"training_{task.series.number}")


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
