"""One trial: build, fit, score, and keep the weights where they rank."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial

import keras
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check, _optuna
from kerastune_optuna._backend import Memory, set_all
from kerastune_optuna._data import FitArguments, not_finite
from kerastune_optuna._exceptions import StorageError, TunerError
from kerastune_optuna._scratch import scratch
from kerastune_optuna._search import check_choices, check_ranges, take_over
from kerastune_optuna._signals import finishing, requested
from kerastune_optuna._storage import StoreAwayError
from kerastune_optuna._study import N_PARAMS, record, seed_of
from kerastune_optuna._study import reason as _reason
from kerastune_optuna._trial import (
    backup,
    history,
    shared,
    weights,
)
from kerastune_optuna._trial.archive import Archive
from kerastune_optuna._trial.backup import UnfitBackupError
from kerastune_optuna._trial.callbacks import PruningCallback
from kerastune_optuna._trial.kept import (
    discard_outranked,
    enters_best,
    keepers,
    save,
)
from kerastune_optuna._trial.recipe import Lesson, Recipe, build
from kerastune_optuna._trial.rehearsal import make_ready_to_keep
from kerastune_optuna._trial.score import score
from kerastune_optuna._trial.training import Task, Training, make_ready
from kerastune_optuna._trial.trainings import Series
from kerastune_optuna._trial.variables import lacks_variables


@dataclass(frozen=True)
class _Outcome:
    """Hold what a training came to, and what went wrong after its result was known."""

    state: TrialState
    values: Sequence[float] | None = None
    error: TunerError | None = None


def run_trial(trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool) -> FrozenTrial:
    """Train one configuration and tell the study how it ended.

    Args:
        trial: The running trial.
        recipe: What all trials share.
        memory: Releases what a training leaves behind before the next one of the same trial.
        check: Whether to look for the objective among the metrics before training.

    Returns:
        The finished trial.

    Raises:
        KeyboardInterrupt: A signal asked for the end; the trial is left RUNNING.
        StorageError: The storage is gone; the trial is left RUNNING.
        TunerError: The weights cannot be saved or loaded again; the trial has its result.
    """
    began = time.perf_counter()
    try:
        outcome = _train(trial, recipe, memory, check=check)
        trial.set_user_attr(record.SECONDS_RUN, round(time.perf_counter() - began, 3))
        finished = _optuna.tell(trial.study, trial, outcome.values, outcome.state)
    except (KeyboardInterrupt, StorageError):
        raise
    except UpdateFinishedTrialError:
        # Another process took this one for dead, say after the machine slept, and runs the trial.
        return _optuna.as_stored(trial.study, trial)
    except BaseException as error:  # of any kind: the trial must not stay RUNNING
        if requested():  # the signal may have ended a process that loads the data
            raise KeyboardInterrupt from error
        with suppress(UpdateFinishedTrialError):
            _fail(trial, recipe, error)
        raise
    wrong = outcome.error
    try:
        _remove_leftovers(trial.study, finished, recipe)
    except StoreAwayError as away:
        wrong = wrong or away  # missing weights matter more than files left over
    if wrong is not None:
        raise wrong
    return finished


def _remove_leftovers(study: optuna.Study, finished: FrozenTrial, recipe: Recipe) -> None:
    """Delete what a finished trial needs no more, or what others kept that it now outranks."""
    backup.discard(recipe.store, finished)
    if weights.has(_optuna.storage_of(study), finished):
        discard_outranked(study, recipe.store, partial(keepers, study, recipe))


def _train(trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool) -> _Outcome:
    """Train a configuration; return how the trial ended and the values of its best epoch."""
    try:
        return _train_all(trial, recipe, memory, check=check)
    except UnfitBackupError:
        backup.forget(trial)
        return _train_all(trial, recipe, memory, check=check)
    except optuna.TrialPruned as error:  # of its builder: it ends before its training
        trial.set_user_attr(record.STOP_REASON, _reason.of_pruned(error))
        trial.set_user_attr(record.EPOCHS_RUN, 0)
        return _Outcome(TrialState.PRUNED)


def _train_all(trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool) -> _Outcome:
    """Run the trainings of a trial that its backup does not hold; most trials have only one."""
    seed = seed_of(trial, recipe.seed)
    if record.SEED not in trial.user_attrs:  # where it is not the retry of another
        trial.set_user_attr(record.SEED, seed)
    series = Series(recipe.objectives.watched, recipe.n_trainings, seed)
    if series.length > 1:
        trial.set_user_attr(record.SEEDS, series.seeds)
    if recipe.card is not None:
        trial.set_user_attr(record.CARD, recipe.card)
    if (with_data := recipe.with_data_of(trial)) is not recipe and check:
        check_ranges(recipe.build_model, trial)
    with scratch() as folder:
        archive = Archive(trial, recipe.store, folder, recipe.epochs_in_all)
        if recipe.backup_every is not None:
            archive.open(series)
        task, outcome = Task(trial, with_data, series, archive), None
        while outcome is None:
            # Where a trial has only one training, the worker releases what it leaves in memory.
            with memory.released() if series.length > 1 else nullcontext():
                outcome = _build_and_fit(task, check=check and series.number == 0)
    return outcome


def _build_and_fit(task: Task, *, check: bool) -> _Outcome | None:
    """Run one training; return how the trial ended, or None where more trainings are to come."""
    trial, series = task.trial, task.series
    set_all(series.seeds[series.number])
    model, arguments = build(task.recipe.build_model, trial)
    check_choices(trial)
    # Constraints may have changed since an earlier trial with the same parameters: where there are
    # any, they are checked before its result is taken over.
    asks = task.recipe.constraints.are_there
    if not asks and (known := _earlier_result(task)) is not None:
        return known
    came_with = len(model.weights), lacks_variables(model)
    lesson = task.recipe.of_trial(trial, model, arguments, _folder(task), series.number)
    _note_epochs(task, lesson.fit)
    training = Training(task, lesson)
    make_ready(model, lesson, check=check)
    if check:
        _warn_of_holes(task.recipe.fit)
    if series.number == 0 and _breaks_constraints(trial, model, lesson):
        return _Outcome(TrialState.PRUNED)
    if asks and (known := _earlier_result(task)) is not None:
        return known
    training.fit(model)
    shared.check_trained(model)
    if training.pruning.cut_off:
        task.archive.save()  # a builder's own fit may end between two phases
        raise KeyboardInterrupt
    _take(task, training, model)
    _note_divergence(task, training.pruning)
    if training.came_to_its_end and series.number < series.length:
        if task.recipe.backup_every is not None:
            task.archive.save_between(series, training.pruning.state())
        return None
    # Keras leaves this False where the model's own steps call its layers, never the model.
    model.built = True
    is_whole = came_with == (len(model.weights), False)
    with finishing():
        return _conclude(task, training, model, is_whole=is_whole)


def _warn_of_holes(fit: FitArguments) -> None:
    """Warn of data with NaN or infinity, which the loss may not show: relu makes 0 of NaN."""
    if (where := not_finite.find(fit, in_batches=False)) is not None:
        _check.warn(f"{where}. Fill it or drop the rows, unless the model takes it.")


def _take(task: Task, training: Training, model: keras.Model) -> None:
    """Add a training that ended to the series of its trial."""
    best = training.pruning.best_value
    scores: Sequence[float] = ()
    if best is not None and training.came_to_its_end:
        scores = score(training, model, best)
    outcome, state = training.pruning.outcome(), training.best.best_or_last()
    task.series.add(outcome, training.logs.rows, state, scores, training.watch.seconds)


def _note_divergence(task: Task, pruning: PruningCallback) -> None:
    """Write into the trial that a training diverged, and where its data is not finite."""
    trial, has_diverged = task.trial, pruning.diverged is not None
    if has_diverged:
        trial.set_user_attr(record.DIVERGED, pruning.epochs_run)
    is_early = has_diverged and pruning.epochs_run == 1  # the epoch has seen all of the data
    has_none = pruning.best_value is None and pruning.reason is None
    if (is_early or has_none) and (where := task.recipe.not_finite) is not None:
        trial.set_user_attr(record.NOT_FINITE, where)
        reason = trial.user_attrs.get(record.STOP_REASON, pruning.stop_reason)
        trial.set_user_attr(record.STOP_REASON, _reason.shortened(f"{reason}; {where}"))


def _conclude(task: Task, training: Training, model: keras.Model, *, is_whole: bool) -> _Outcome:
    """Keep the logs of a trial, and the weights where it ranks.

    Args:
        task: The trial.
        training: Its last training.
        model: Its model.
        is_whole: Whether the builder had made all of its variables, and Keras none from the data.

    Returns:
        How it ended.
    """
    trial, recipe, series = task.trial, task.recipe, task.series
    trial.set_user_attr(N_PARAMS, model.count_params())
    recipe.constraints.take_time(trial, series.so_far.seconds)
    error: TunerError | None = None
    if recipe.keep_best:
        error = history.save(recipe.store, trial, series.so_far.rows, task.archive.folder)
    if not training.came_to_its_end:
        return _Outcome(training.state, error=error)
    error = task.archive.error or error
    if enters_best(trial.study, trial.number, series.means, recipe):
        series.restore(model)
        builds = None if is_whole else training.lesson.fit
        error = save(recipe, trial, model, builds) or error
    return _Outcome(TrialState.COMPLETE, series.means, error)


def _earlier_result(task: Task) -> _Outcome | None:
    """Take over the result of an earlier trial with the same parameters, if there is one."""
    if task.recipe.train_repeats or task.series.number:
        return None
    if (earlier := take_over(task.trial, task.recipe.objectives)) is None:
        return None
    task.recipe.constraints.take_time(task.trial, None)
    is_complete = earlier.state is TrialState.COMPLETE
    return _Outcome(earlier.state, earlier.values if is_complete else None)


def _note_epochs(task: Task, fit: FitArguments) -> None:
    """Write into the trial how many epochs it may run, as its search or its builder says."""
    own, of_search = fit.epochs_per_training, task.recipe.fit.epochs_per_training
    task.series.begin(max(own, of_search))
    if record.EPOCHS not in task.trial.user_attrs:  # its first training has written it
        task.trial.set_user_attr(record.EPOCHS, own * task.series.length)


def _breaks_constraints(trial: optuna.Trial, model: keras.Model, lesson: Lesson) -> bool:
    """Whether a configuration breaks a constraint; if so, write into its trial which one."""
    if lesson.recipe.objectives.need_size or lesson.recipe.constraints.are_there:
        make_ready_to_keep(model, lesson.fit)
        trial.set_user_attr(N_PARAMS, model.count_params())
    broken = lesson.recipe.constraints.check(trial, model)
    if broken is not None:
        trial.set_user_attr(record.STOP_REASON, _reason.shortened(broken))
        trial.set_user_attr(record.EPOCHS_RUN, 0)
    return broken is not None


def _folder(task: Task) -> str:
    """Return the folder, below the user's own, for what the callbacks of a training write."""
    path = os.path.join(task.trial.study.study_name, f"trial_{task.trial.number:04d}")
    if task.series.length == 1:
        return path
    return os.path.join(path, f"training_{task.series.number}")


def _fail(trial: optuna.Trial, recipe: Recipe, error: BaseException) -> None:
    """Set a trial to FAIL, with why, and a key that is the same for equal errors."""
    trial.set_user_attr(record.STOP_REASON, _reason.told(error))
    _optuna.set_attr(trial, record.SAMENESS, _reason.sameness(error))
    backup.discard(recipe.store, _optuna.tell(trial.study, trial, None, TrialState.FAIL))
