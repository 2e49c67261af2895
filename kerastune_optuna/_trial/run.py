"""One trial: build, fit, score, and keep the weights if the trial is among the best."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check, _optuna
from kerastune_optuna._backend import Memory
from kerastune_optuna._data import FitArguments, not_finite
from kerastune_optuna._exceptions import StorageError, TunerError
from kerastune_optuna._scratch import needed, scratch
from kerastune_optuna._search import (
    check_choices,
    find_earlier,
    take_over,
    watched_alone,
)
from kerastune_optuna._signals import finishing, requested
from kerastune_optuna._storage import StoreAwayError
from kerastune_optuna._study import Ending, TrialRecord, liveness
from kerastune_optuna._trial import failure, files, flops, history, shared
from kerastune_optuna._trial.archive import Archive
from kerastune_optuna._trial.backup import UnfitBackupError
from kerastune_optuna._trial.kept import discard_outranked, enters_best, keepers, save
from kerastune_optuna._trial.recipe import Recipe, build
from kerastune_optuna._trial.rehearsal import make_ready_to_keep
from kerastune_optuna._trial.score import score
from kerastune_optuna._trial.training import Training, make_ready
from kerastune_optuna._trial.trainings import Series
from kerastune_optuna._trial.variables import lacks_variables

_UNTRAINED = (
    "The builder's fit did not train the model that it got, so best_model() will have none to "
    "return. Train that model too, say on all rows in the end, or pass cv= to search()."
)


@dataclass(frozen=True)
class Outcome:
    """Hold the result of a trial, and the error that occurred after the result was known."""

    ending: Ending
    values: Sequence[float] | None = None
    error: TunerError | None = None


def run_trial(trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool) -> FrozenTrial:
    """Train one configuration and tell the study how it ended.

    Args:
        trial: The running trial.
        recipe: What all trials share.
        memory: Frees what a training left in memory before the trial's next training.
        check: Whether to check before training that the model logs the objective.

    Returns:
        The finished trial.

    Raises:
        KeyboardInterrupt: A signal asked the search to end; the trial stays RUNNING.
        StorageError: The storage, or a temporary folder, is gone; the trial stays RUNNING.
        TunerError: The weights cannot be saved or loaded again; the trial has its result anyway.
    """
    began = time.perf_counter()
    try:
        outcome = _outcome(trial, recipe, memory, check=check)
        TrialRecord(trial).seconds = round(time.perf_counter() - began, 3)
        TrialRecord(trial).code = outcome.ending.name
        state = outcome.ending.states[0 if outcome.values is not None else -1]
        finished = _optuna.tell(trial.study, trial, outcome.values, state)
    except (KeyboardInterrupt, StorageError):
        raise
    except UpdateFinishedTrialError:
        # Another process runs the trial: it considers this one dead, say after the machine slept,
        # or the server gave the trial to both.
        return _optuna.as_stored(trial.study, trial)
    except BaseException as error:  # whatever the error, the trial must not stay RUNNING
        if requested():  # the signal may have killed a process that loads the data
            raise KeyboardInterrupt from error
        with suppress(UpdateFinishedTrialError):
            _fail(trial, recipe, error)
        raise
    wrong = outcome.error
    try:
        _remove_leftovers(trial.study, finished, recipe)
    except StoreAwayError as away:
        wrong = wrong or away  # missing weights matter more than leftover files
    if wrong is not None:
        raise wrong
    return finished


def _outcome(trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool) -> Outcome:
    """Train a configuration; if its backup does not fit the model, start over."""
    try:
        return TrialRun(trial, recipe, memory, check=check).outcome()
    except UnfitBackupError:
        TrialRecord(trial).backup = None
        return TrialRun(trial, recipe, memory, check=check).outcome()
    except optuna.TrialPruned as error:  # raised by the builder, before any training
        return _ended_early(trial, failure.of_pruned(error))


def _ended_early(trial: optuna.Trial, reason: str) -> Outcome:
    """Record why a trial ended before its training."""
    record = TrialRecord(trial)
    record.stop_reason, record.epochs_run = reason, 0
    return Outcome(Ending.FORBIDDEN)


class TrialRun:
    """Run one trial: build and check its model, train it once or several times, score and keep it.

    Args:
        trial: The running trial.
        recipe: What all trials share.
        memory: Frees what a training left in memory before the trial's next training.
        check: Whether to check before training that the model logs the objective.
    """

    def __init__(self, trial: optuna.Trial, recipe: Recipe, memory: Memory, *, check: bool) -> None:
        self._trial, self._recipe, self._check = trial, recipe, check
        self._record = TrialRecord(trial)
        seed = self._record.seed_of(0, recipe.seed)
        self._series = Series(recipe.objectives.watched, recipe.n_trainings, seed)
        # If a trial has only one training, the worker frees the memory after it.
        self._released = memory.released if self._series.length > 1 else nullcontext
        self._ended: Outcome | None = None  # None until the last training has ended

    def outcome(self) -> Outcome:
        """Run the trainings that the trial's backup lacks; return the trial's outcome."""
        self._note_seeds()
        # Functions of the trial that the user passed as data make it here.
        self._recipe = recipe = self._recipe.with_data_of(self._trial)
        with scratch() as folder:
            with needed():
                self._archive = Archive(self._trial, recipe.store, folder, recipe.epochs_in_all)
                if recipe.backup_every is not None:
                    self._archive.open(self._series)
            while self._ended is None:
                with self._released():
                    self._train_next()
        return self._ended

    def _note_seeds(self) -> None:
        """Record the seeds of the trial's trainings and the key of its search's card."""
        seeds = self._series.seeds
        if self._record.seed is None:  # the retry of another trial has its seed already
            self._record.seed = seeds[0]
        if len(seeds) > 1:
            self._record.seeds = seeds
        if self._recipe.card is not None:
            self._record.card = self._recipe.card

    def _train_next(self) -> None:
        """Build and train the model, unless a constraint or an earlier result makes it needless."""
        is_first = self._series.number == 0
        seed = self._series.seeds[self._series.number]
        model, arguments = build(self._recipe.build_model, self._trial, seed)
        check_choices(self._trial)
        finds = is_first and not self._recipe.train_repeats
        known = find_earlier(self._trial.study, self._trial) if finds else None
        # Constraints may have changed since the earlier trial, so they are checked before its
        # result is reused.
        if known is not None and not self._recipe.constraints.are_there:
            self._ended = self._take_over(known)
            return
        self._came_whole = not lacks_variables(model)
        training = self._made_ready(model, arguments)
        if is_first and (broken := self._broken(model, training.inputs.fit)) is not None:
            self._ended = _ended_early(self._trial, failure.shortened(broken))
        elif known is not None:
            self._ended = self._take_over(known)
        else:
            self._fit(training, model)

    def _take_over(self, earlier: FrozenTrial) -> Outcome:
        """Reuse the result of an earlier trial with the same parameters."""
        take_over(watched_alone(self._trial, self._recipe.objectives), earlier)
        self._recipe.constraints.take_time(self._trial, None)
        is_complete = earlier.state is TrialState.COMPLETE
        return Outcome(Ending.REPEAT, earlier.values if is_complete else None)

    def _made_ready(self, model: keras.Model, arguments: Mapping[str, Any]) -> Training:
        """Return the training, after checking the model and setting it up to train fast."""
        series, check = self._series, self._check and self._series.number == 0
        inputs = self._recipe.of_trial(self._trial, arguments, self._folder, series.number)
        own, of_search = inputs.fit.epochs_per_training, self._recipe.fit.epochs_per_training
        series.begin(max(own, of_search))
        if self._record.epochs is None:  # set before the trial's first training only
            self._record.epochs = own * series.length
        training = Training(self._trial, inputs, series, self._archive)
        make_ready(model, inputs, check=check)
        # The loss may hide what is not finite, since relu turns NaN into 0.
        if check and (where := not_finite.find(self._recipe.fit)) is not None:
            _check.warn(f"{where}. Fill it or drop the rows, unless the model takes it.")
        return training

    @property
    def _folder(self) -> str:
        """The subfolder of the user's folders in which the callbacks of a training write."""
        path = os.path.join(self._trial.study.study_name, f"trial_{self._trial.number:04d}")
        if self._series.length == 1:
            return path
        return os.path.join(path, f"training_{self._series.number}")

    def _broken(self, model: keras.Model, fit: FitArguments) -> str | None:
        """Return which constraint a configuration violates, or None."""
        constraints, sizes = self._recipe.constraints, self._recipe.objectives.sizes
        if sizes or constraints.are_there:
            make_ready_to_keep(model, fit)
            self._record.n_params = model.count_params()
        if TrialRecord.flops in sizes or constraints.max_flops is not None:
            self._record.flops = flops.count(model, fit.specification_of_a_batch)
        return constraints.check(self._trial, model)

    def _fit(self, training: Training, model: keras.Model) -> None:
        """Train a model; conclude the trial unless another training follows."""
        record, series, pruning = self._record, self._series, training.pruning
        training.fit(model)
        shared.check_trained(model)
        if pruning.cut_off:
            raise KeyboardInterrupt
        liveness.check_signature(_optuna.storage_of(self._trial.study), _optuna.id_of(self._trial))
        scores = score(training, model, record) if training.came_to_its_end else ()
        logs, state = training.logs.rows, training.best.best_or_last()
        series.add(pruning.outcome(), logs, state, scores, training.watch.seconds)
        if training.ending.works is False and (where := self._recipe.not_finite) is not None:
            why = record.stop_reason or pruning.stop_reason
            record.not_finite, record.stop_reason = where, failure.shortened(f"{why}; {where}")
        if training.came_to_its_end and series.number < series.length:
            if self._recipe.backup_every is not None:
                self._archive.back_up_between(series, pruning.state())
            return
        # Keras leaves this False if the model's own steps call its layers and never the model.
        model.built = True
        with finishing():
            self._ended = self._concluded(training, model)

    def _concluded(self, training: Training, model: keras.Model) -> Outcome:
        """Keep the trial's logs, and its weights if it is among the best; return its outcome."""
        trial, recipe, series = self._trial, self._recipe, self._series
        self._record.n_params = model.count_params()
        recipe.constraints.take_time(trial, series.so_far.seconds)
        error: TunerError | None = None
        if recipe.keep_best != 0:
            error = history.save(recipe.store, trial, series.so_far.rows, self._archive.folder)
        if not training.came_to_its_end:
            return Outcome(training.ending, error=error)
        error = self._archive.error or error
        if enters_best(trial, series.means, recipe):
            if training.left_untrained:
                _check.warn(_UNTRAINED)
                return Outcome(Ending.COMPLETE, series.means, error)
            series.restore(model)
            builds = None if self._came_whole else training.inputs.fit
            error = save(recipe, trial, model, builds) or error
        return Outcome(Ending.COMPLETE, series.means, error)


def _remove_leftovers(study: optuna.Study, finished: FrozenTrial, recipe: Recipe) -> None:
    """Delete the backup of a finished trial, and the weights of trials that it now outranks."""
    storage = _optuna.storage_of(study)
    files.discard(recipe.store, storage, finished, files.BACKUP)
    if files.ids(storage, finished, files.WEIGHTS):
        discard_outranked(study, recipe.store, partial(keepers, study, recipe))


def _fail(trial: optuna.Trial, recipe: Recipe, error: BaseException) -> None:
    """Set a trial to FAIL; record the reason, and a key that is the same for equal errors.

    Raises:
        UpdateFinishedTrialError: The trial is another's by now, which its run here does not end.
    """
    liveness.check_signature(_optuna.storage_of(trial.study), _optuna.id_of(trial))
    TrialRecord(trial).code = Ending.FAILED.name
    TrialRecord(trial).stop_reason = failure.told(error)
    TrialRecord(trial).sameness = failure.sameness(error)
    failed = _optuna.tell(trial.study, trial, None, TrialState.FAIL)
    files.discard(recipe.store, _optuna.storage_of(trial.study), failed, files.BACKUP)
