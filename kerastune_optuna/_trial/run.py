"""One trial from its builder to its result: build, check, train, and keep the best weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import keras
import optuna
from optuna.trial import TrialState

from kerastune_optuna import _check, _optuna
from kerastune_optuna._backend import Memory
from kerastune_optuna._data import FitArguments
from kerastune_optuna._scratch import needed, scratch
from kerastune_optuna._search import check_choices, copy_result, find_earlier, watched_alone
from kerastune_optuna._signals import finishing
from kerastune_optuna._study import Ending, TrialRecord
from kerastune_optuna._trial import failure, history
from kerastune_optuna._trial.backup import Archive, UnfitBackupError
from kerastune_optuna._trial.kept import save_if_best
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.ready import check_constraints, make_ready
from kerastune_optuna._trial.recipe import Call, build
from kerastune_optuna._trial.training import TrainingInputs, train
from kerastune_optuna._trial.variables import lacks_variables


class TrialRun:
    """Run one trial: build and check its model, train it once or several times, score and keep it.

    Args:
        trial: The running trial.
        call: What the trials of this call share.
        memory: Frees what a training left in memory before the trial's next training.
        check: Whether to check before training that the model logs the objective.
    """

    def __init__(self, trial: optuna.Trial, call: Call, memory: Memory, *, check: bool) -> None:
        self._trial, self._call, self._memory, self._check = trial, call, memory, check
        self._record, recipe = TrialRecord(trial), call.recipe
        seed = self._record.seed_of(0, recipe.seed, _optuna.known_trials(trial.study))
        objective, length = recipe.objectives.watched, recipe.n_trainings(call.fit)
        self._ledger = Ledger(objective, length, seed, is_open_ended=call.fit.is_free)

    def run(self) -> Ledger:
        """Run the trainings that the trial's backup lacks; return the trial's ledger."""
        trial, call, record, ledger = self._trial, self._call, self._record, self._ledger
        recipe, seeds = call.recipe, ledger.seeds
        if record.seed is None:  # the retry of another trial has its seed already
            record.seed = seeds[0]
        if len(seeds) > 1:
            record.seeds = seeds
        record.card = call.card.key
        # If a trial has only one training, the worker frees the memory after it.
        released = self._memory.released if len(seeds) > 1 else nullcontext
        try:
            # Functions of the trial, if there are any, make its data here.
            self._fit = call.fit_of(trial)
            with scratch() as folder:
                with needed():
                    self._archive = Archive(trial, recipe.store, folder, call.card)
                    if recipe.backup_every is not None and record.backup is not None:
                        self._archive.open(ledger, record.backup)
                while ledger.is_open:
                    with released():
                        self._train_next()
        except UnfitBackupError:  # the trial starts over
            record.backup = None
            return TrialRun(trial, call, self._memory, check=self._check).run()
        except optuna.TrialPruned as error:  # by a limit or the builder, before any training
            record.stop_reason, record.epochs_run = failure.of_pruned(error), 0
            ledger.ending = Ending.FORBIDDEN
        return ledger

    def _train_next(self) -> None:
        """Build and train the model, or take over the result of an earlier trial."""
        trial, recipe, ledger = self._trial, self._call.recipe, self._ledger
        model, arguments = build(recipe.build_model, trial, ledger.seeds[ledger.number])
        check_choices(trial.distributions)
        is_unbuilt = lacks_variables(model)
        finds = ledger.number == 0 and not recipe.train_repeats
        earlier = find_earlier(trial.study, trial) if finds else None
        # Constraints may have changed since the earlier trial, so they are checked before its
        # result is reused.
        if earlier is None or recipe.constraints.are_there:
            inputs = self._checked_inputs(model, arguments)
        if earlier is not None:
            are_several = recipe.objectives.are_several
            copy_result(watched_alone(trial, recipe.objectives) if are_several else trial, earlier)
            recipe.constraints.take_time(trial, None)
            ledger.ending = Ending.REPEAT
            ledger.means = earlier.values if earlier.state is TrialState.COMPLETE else []
            return
        is_trained = train(trial, model, inputs, ledger, self._archive)
        if not ledger.is_open:
            self._keep(model, inputs.fit if is_unbuilt else None, is_trained=is_trained)
        elif recipe.backup_every is not None:
            self._archive.back_up(ledger)  # so that a retry does not train it again

    def _checked_inputs(self, model: keras.Model, arguments: Mapping[str, Any]) -> TrainingInputs:
        """Return what the training gets, after checking the model and letting it train fast.

        Raises:
            optuna.TrialPruned: The model breaks a constraint.
        """
        trial, ledger = self._trial, self._ledger
        number, seed = ledger.number, ledger.seeds[ledger.number]
        folder = os.path.join(trial.study.study_name, f"trial_{trial.number:04d}")
        if ledger.length > 1:
            folder = os.path.join(folder, f"training_{number}")
        inputs = TrainingInputs.of(self._call, self._fit, trial, arguments, folder, number, seed)
        if self._record.epochs is None:  # set before the trial's first training only
            self._record.epochs = inputs.fit.epochs_per_training * ledger.length
        check = self._check and number == 0
        make_ready(model, inputs, check=check)
        # The loss may hide what is not finite, since relu turns NaN into 0.
        if check and (where := self._fit.not_finite()) is not None:
            _check.warn(f"{where}. Fill it or drop the rows, unless the model takes it.")
        if number == 0:
            check_constraints(trial, model, inputs)
        return inputs

    def _keep(self, model: keras.Model, builds: FitArguments | None, *, is_trained: bool) -> None:
        """Keep the trial's logs, and its weights if it is among the best.

        Args:
            model: The model of the trial's last training.
            builds: The data from which Keras created variables that the builder had not created.
            is_trained: Whether a builder's own fit trained it, and not another model.
        """
        trial, call, record, ledger = self._trial, self._call, self._record, self._ledger
        recipe = call.recipe
        if ledger.ending.works is False and (where := self._fit.not_finite()) is not None:
            why = f"{record.stop_reason}; {where}"
            record.not_finite, record.stop_reason = where, failure.shortened(why)
        with finishing():
            record.n_params = model.count_params()
            if recipe.constraints.max_seconds is not None:
                recipe.constraints.take_time(trial, ledger.seconds)
            if call.keep_best != 0:
                ledger.late_error = history.save(recipe.store, trial, ledger, self._archive.folder)
            if ledger.ending is Ending.COMPLETE:
                kept = save_if_best(call, trial, model, ledger, builds, is_trained=is_trained)
                ledger.late_error = kept or self._archive.error or ledger.late_error
