"""One trial: build, fit, score, and keep the weights where they rank."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _backup, _history, _own_fit, _repeats, _weights
from kerastune_optuna._backup import Backup, UnfitBackupError
from kerastune_optuna._callbacks import BestWeights
from kerastune_optuna._constraints import untold
from kerastune_optuna._exceptions import StorageError, WeightsError
from kerastune_optuna._fit import FitArguments
from kerastune_optuna._history import EpochLogs
from kerastune_optuna._hparams import for_boards
from kerastune_optuna._keeping import discard_outranked, enters_best
from kerastune_optuna._objectives import N_PARAMS
from kerastune_optuna._one_objective import watched_alone
from kerastune_optuna._recipe import Builder, Recipe, build
from kerastune_optuna._score import score
from kerastune_optuna._seeds import derive, set_all
from kerastune_optuna._steps import lean_graphs
from kerastune_optuna._stop import StopOnRequest
from kerastune_optuna._stopwatch import Stopwatch
from kerastune_optuna._store import StoreSource
from kerastune_optuna._user_callbacks import may_add_metrics

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_SHAPES = "build_config"  # the user attr with the input shapes of a model that came unbuilt


@dataclass(frozen=True)
class _Outcome:
    """Hold what a training came to, and what went wrong after its result was known."""

    state: TrialState
    values: Sequence[float] | None = None
    error: WeightsError | None = None


def run_trial(
    study: optuna.Study, trial: optuna.Trial, recipe: Recipe, *, check: bool
) -> FrozenTrial:
    """Train one configuration and tell the study how it ended.

    Args:
        study: The study that asked the trial.
        trial: The running trial.
        recipe: What all trials share.
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
        outcome = _train(study, trial, recipe, check=check)
        trial.set_user_attr("seconds", round(time.perf_counter() - began, 3))
        finished = study.tell(trial, outcome.values, outcome.state)
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


def _train(study: optuna.Study, trial: optuna.Trial, recipe: Recipe, *, check: bool) -> _Outcome:
    """Build and fit the model; return how the trial ended and the values of its best epoch."""
    try:
        return _build_and_fit(study, trial, recipe, check=check)
    except UnfitBackupError:
        _backup.forget(trial)
        return _build_and_fit(study, trial, recipe, check=check)


def _build_and_fit(
    study: optuna.Study, trial: optuna.Trial, recipe: Recipe, *, check: bool
) -> _Outcome:
    seed_generators(trial, recipe)
    if recipe.card is not None:
        trial.set_user_attr("card", recipe.card)
    model, arguments = build(recipe.build_model, trial)
    asks = recipe.constraints.are_there  # which may have changed since a trial that comes again
    if not asks and (known := _known(study, trial, recipe)) is not None:
        return known
    came_built = model.built
    recipe = recipe.of_trial(trial, model, arguments, _folder(study, trial))
    _note_epochs(trial, recipe.fit, arguments)
    with tempfile.TemporaryDirectory() as folder:
        training = _Training(trial, recipe, folder)
        _make_ready(model, recipe, training, check=check)
        if _breaks_constraints(trial, model, recipe):
            return _Outcome(TrialState.PRUNED)
        if asks and (known := _known(study, trial, recipe)) is not None:
            return known
        with lean_graphs(model, recipe.fit):
            training.fit(model)
    if training.stop.stopped or training.pruning.cut_off:
        raise KeyboardInterrupt
    return _judge(study, trial, recipe, model, training, came_built=came_built)


def _judge(
    study: optuna.Study,
    trial: optuna.Trial,
    recipe: Recipe,
    model: keras.Model,
    training: _Training,
    *,
    came_built: bool,
) -> _Outcome:
    """Return what a training came to, once its history is kept, and its weights where they rank."""
    trial.set_user_attr(N_PARAMS, model.count_params())
    recipe.constraints.take_time(trial, training.watch.seconds)
    error = _history.save(recipe.store, trial, training.logs.rows) if recipe.keep_best else None
    pruning = training.pruning
    if pruning.best_value is None:
        state = TrialState.FAIL if pruning.reason is None else TrialState.PRUNED
        return _Outcome(state, error=error)
    if pruning.pruned:
        return _Outcome(TrialState.PRUNED, error=error)
    error = (training.backup.error if training.backup else None) or error
    logs, seconds = training.logs_of_best_epoch, training.watch.seconds
    values = score(recipe, model, pruning.best_value, logs, seconds)
    if enters_best(study, trial.number, values, recipe):
        training.best.restore()
        error = _save(recipe, trial, model, came_built=came_built) or error
    return _Outcome(TrialState.COMPLETE, values, error)


def _known(study: optuna.Study, trial: optuna.Trial, recipe: Recipe) -> _Outcome | None:
    """Take over the result of an earlier trial with the same parameters, if there is one."""
    if recipe.train_repeats or (earlier := _repeats.find(study, trial)) is None:
        return None
    _repeats.take_over(watched_alone(trial, recipe.objectives), earlier)
    is_complete = earlier.state is TrialState.COMPLETE
    return _Outcome(earlier.state, earlier.values if is_complete else None)


def _make_ready(model: keras.Model, recipe: Recipe, training: _Training, *, check: bool) -> None:
    """Let the model train fast, after a look at its metrics where that is asked for."""
    recipe.make_ready(model, training.callbacks)
    if check and not _own_fit.trains_itself(recipe.build_model):
        _check_objectives(model, recipe)


class _Training:
    """Hold the callbacks of one training, in the order in which they are called."""

    def __init__(self, trial: optuna.Trial, recipe: Recipe, folder: str) -> None:
        self.stop = StopOnRequest()
        self.of_user = recipe.callbacks
        objectives, limit = recipe.objectives, recipe.constraints.max_seconds
        shown = watched_alone(trial, objectives)
        self.pruning = _own_fit.pruning_for(recipe.build_model, shown, objectives.watched)
        self.watch = Stopwatch(self.pruning, limit)
        self.best = BestWeights(self.pruning)
        self.logs = EpochLogs()
        boards = for_boards(self.of_user, trial, self.pruning)
        ours = [self.pruning, self.best, self.logs]
        self.callbacks = [self.stop, self.watch, *self.of_user, *ours, *boards]
        self.backup: Backup | None = None
        if recipe.backup_every is not None:
            kept = (self.pruning, self.best, self.logs, self.watch)
            self.backup = Backup(trial, recipe.store, *kept, recipe.backup_every, folder)
            self.callbacks.append(self.backup)
        keywords = {**recipe.fit.as_keywords(), "verbose": 0, "callbacks": self.callbacks}
        self.fit = partial(_own_fit.fit, recipe.build_model, trial, self.pruning, keywords)

    @property
    def logs_of_best_epoch(self) -> Mapping[str, Any]:
        """What Keras logged at the best epoch, or what the builder's own fit returned."""
        best = (row for row in self.logs.rows if row["epoch"] == self.pruning.best_epoch)
        return _own_fit.returned(self.pruning) or next(best, {})


def _save(
    recipe: Recipe, trial: optuna.Trial, model: keras.Model, *, came_built: bool
) -> WeightsError | None:
    """Save the model's weights; return what went wrong, since the trial has its result anyway."""
    try:
        _weights.save(recipe.store, trial, model)
    except WeightsError as error:
        return error
    if not came_built:
        trial.set_user_attr(_SHAPES, json.dumps(model.get_build_config()))
    return None


def rebuild(
    build_model: Builder, store: StoreSource, storage: BaseStorage, trial: FrozenTrial
) -> keras.Model:
    """Return the compiled model of a finished trial with the weights of its best epoch.

    Raises:
        BuilderError: The builder returned something else than a compiled model.
        WeightsError: The weights are not kept, or do not fit the model.
    """
    model, _ = build(build_model, untold(trial))
    if not model.built and _SHAPES in trial.user_attrs:
        _weights.make_variables(model, json.loads(trial.user_attrs[_SHAPES]))
    _weights.load(store, storage, trial, model)
    return model


def seed_generators(trial: optuna.Trial | FrozenTrial, recipe: Recipe) -> None:
    """Start all generators from a seed of the trial's own."""
    seed = trial.user_attrs.get("seed")  # of the trial that this one is the retry of
    if seed is None:
        seed = derive(recipe.seed, trial.number)
        trial.set_user_attr("seed", seed)
    set_all(seed)


def _note_epochs(trial: optuna.Trial, fit: FitArguments, arguments: Mapping[str, Any]) -> None:
    """Write down how many epochs a trial may run where its builder decides on them."""
    if {"epochs", "initial_epoch"}.intersection(arguments):
        trial.set_user_attr("epochs", fit.epochs_of_a_trial)


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


def _breaks_constraints(trial: optuna.Trial, model: keras.Model, recipe: Recipe) -> bool:
    """Whether a configuration must not be trained, which its trial then says."""
    if recipe.needs_size:
        if not model.built:
            recipe.fit.evaluate_once(model)
        trial.set_user_attr(N_PARAMS, model.count_params())
    broken = recipe.constraints.check(trial, model)
    if broken is not None:
        trial.set_user_attr("stop_reason", broken)
        trial.set_user_attr("epochs_run", 0)
    return broken is not None


def _folder(study: optuna.Study, trial: optuna.Trial) -> str:
    """Return the folder, below the user's own, for what a trial's callbacks write."""
    return os.path.join(study.study_name, f"trial_{trial.number:04d}")


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
