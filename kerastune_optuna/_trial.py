"""One trial: build, fit, score, and keep the weights where they rank."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _backup, _history, _study, _weights
from kerastune_optuna._backup import Backup, UnfitBackupError
from kerastune_optuna._callbacks import BestWeights, PruningCallback
from kerastune_optuna._constraints import untold
from kerastune_optuna._exceptions import StorageError, WeightsError
from kerastune_optuna._fit import FitArguments
from kerastune_optuna._history import EpochLogs
from kerastune_optuna._hparams import for_boards
from kerastune_optuna._objectives import N_PARAMS
from kerastune_optuna._one_objective import watched_alone
from kerastune_optuna._recipe import Builder, Recipe, build
from kerastune_optuna._rehearsal import rehearse
from kerastune_optuna._score import score
from kerastune_optuna._seeds import derive
from kerastune_optuna._steps import lean_graphs, set_steps
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
    _seed(trial, recipe)
    model, arguments = build(recipe.build_model, trial)
    came_built = model.built
    recipe = recipe.of_trial(trial, model, arguments, _folder(study, trial))
    _note_epochs(trial, recipe.fit, arguments)
    with tempfile.TemporaryDirectory() as folder:
        training = _Training(trial, recipe, folder)
        rehearse(model, recipe.fit.specification())
        set_steps(model, recipe.fit, training.of_user)
        if check:
            _check_objectives(model, recipe)
        if _breaks_constraints(trial, model, recipe):
            return _Outcome(TrialState.PRUNED)
        with lean_graphs(model, recipe.fit):
            model.fit(**recipe.fit.as_keywords(), verbose=0, callbacks=training.callbacks)
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
    if _enters_best(study, trial.number, values, recipe):
        training.best.restore()
        error = _save(recipe, trial, model, came_built=came_built) or error
    return _Outcome(TrialState.COMPLETE, values, error)


class _Training:
    """Hold the callbacks of one training, in the order in which they are called."""

    def __init__(self, trial: optuna.Trial, recipe: Recipe, folder: str) -> None:
        self.stop = StopOnRequest()
        self.of_user = recipe.callbacks
        objectives, limit = recipe.objectives, recipe.constraints.max_seconds
        self.pruning = PruningCallback(watched_alone(trial, objectives), objectives.watched.name)
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

    @property
    def logs_of_best_epoch(self) -> Mapping[str, Any]:
        """What Keras logged at the best epoch."""
        best = self.pruning.best_epoch
        return next((row for row in self.logs.rows if row["epoch"] == best), {})


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
        model.build_from_config(json.loads(trial.user_attrs[_SHAPES]))
        # Keras builds the layers of a subclassed model there and leaves the model marked unbuilt.
        model.built = True
    _weights.load(store, storage, trial, model)
    return model


def _seed(trial: optuna.Trial, recipe: Recipe) -> None:
    """Start Python's, NumPy's and Keras's generators from a seed of the trial's own."""
    seed = trial.user_attrs.get("seed")  # of the trial that this one is the retry of
    if seed is None:
        seed = derive(recipe.seed, trial.number)
        trial.set_user_attr("seed", seed)
    keras.utils.set_random_seed(seed)


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


def _enters_best(study: optuna.Study, number: int, values: Sequence[float], recipe: Recipe) -> bool:
    """Whether a trial will be among those that keep their weights, as the study stands."""
    objectives = recipe.objectives
    best = _study.keepers(study, objectives, recipe.keep_best)
    if objectives.are_several and recipe.keep_best:
        return not any(objectives.dominate(one.values, values) for one in best)
    if len(best) < recipe.keep_best:
        return True
    # As `best` ranks: of equal values the earlier trial leads, whichever ended first.
    watched = objectives.watched
    costs = [watched.cost(value) for value in (values[watched.place], *map(watched.value_of, best))]
    return bool(best) and (costs[0], number) < (costs[-1], best[-1].number)


def discard_outranked(study: optuna.Study, recipe: Recipe) -> None:
    """Delete the weights of finished trials that are not among the best."""
    keepers = _study.keepers(study, recipe.objectives, recipe.keep_best)
    best = {trial.number for trial in keepers}
    for trial in study.get_trials(deepcopy=False):
        # A RUNNING trial may just have saved weights that are about to rank.
        if trial.state.is_finished() and trial.number not in best:
            _weights.discard(recipe.store, study._storage, trial)


def _folder(study: optuna.Study, trial: optuna.Trial) -> str:
    """Return the folder, below the user's own, for what a trial's callbacks write."""
    return os.path.join(study.study_name, f"trial_{trial.number:04d}")


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
