"""One trial from its builder to its outcome: build, check, train, and keep the best weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check
from kerastune_optuna._backend import Memory
from kerastune_optuna._data import FitArguments, not_finite
from kerastune_optuna._exceptions import TunerError
from kerastune_optuna._scratch import needed, scratch
from kerastune_optuna._search import check_choices, find_earlier, take_over, watched_alone
from kerastune_optuna._signals import finishing
from kerastune_optuna._study import Ending, TrialRecord
from kerastune_optuna._trial import failure, history
from kerastune_optuna._trial.archive import Archive
from kerastune_optuna._trial.inputs import TrainingInputs
from kerastune_optuna._trial.kept import enters_best, save
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.ready import make_ready, why_forbidden
from kerastune_optuna._trial.recipe import Recipe, build
from kerastune_optuna._trial.state import give_back
from kerastune_optuna._trial.training import train
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
        self._record = record = TrialRecord(trial)
        self._ledger = Ledger(
            recipe.objectives.watched,
            recipe.n_trainings,
            record.seed_of(0, recipe.seed),
            is_open_ended=recipe.has_own_fit,
        )
        # If a trial has only one training, the worker frees the memory after it.
        self._released = memory.released if recipe.n_trainings > 1 else nullcontext
        self._is_untrained = False  # whether the builder's own fit left the model as it got it

    def outcome(self) -> Outcome:
        """Run the trainings that the trial's backup lacks; return the trial's outcome."""
        trial, recipe, record = self._trial, self._recipe, self._record
        seeds = self._ledger.seeds
        if record.seed is None:  # the retry of another trial has its seed already
            record.seed = seeds[0]
        if len(seeds) > 1:
            record.seeds = seeds
        record.card = recipe.card.key
        self._fit = recipe.fit_of(trial)  # functions of the trial make its data here
        with scratch() as folder:
            with needed():
                self._archive = Archive(trial, recipe.store, folder, recipe.epochs_in_all)
                if recipe.backup_every is not None:
                    self._archive.open(self._ledger)
            outcome = None
            while outcome is None:
                with self._released():
                    outcome = self._train_next()
        return outcome

    def _train_next(self) -> Outcome | None:
        """Build and train the model; return the outcome unless another training follows."""
        trial, recipe, ledger = self._trial, self._recipe, self._ledger
        is_first = ledger.number == 0
        model, arguments = build(recipe.build_model, trial, ledger.seeds[ledger.number])
        check_choices(trial)
        finds = is_first and not recipe.train_repeats
        known = find_earlier(trial.study, trial) if finds else None
        # Constraints may have changed since the earlier trial, so they are checked before its
        # result is reused.
        if known is not None and not recipe.constraints.are_there:
            return self._take_over(known)
        is_unbuilt = lacks_variables(model)
        inputs = self._made_ready(model, arguments, is_first=is_first)
        if is_first and (why := why_forbidden(trial, model, inputs)) is not None:
            return forbidden(trial, failure.shortened(why))
        if known is not None:
            return self._take_over(known)
        self._is_untrained = train(trial, model, inputs, ledger, self._archive)
        if ledger.is_open:
            if recipe.backup_every is not None:
                self._archive.back_up_between(ledger)
            return None
        if ledger.ending.works is False and (where := self._not_finite) is not None:
            why = f"{self._record.stop_reason}; {where}"
            self._record.not_finite, self._record.stop_reason = where, failure.shortened(why)
        # Keras leaves this False if the model's own steps call its layers and never the model.
        model.built = True
        with finishing():
            return self._finished(model, inputs.fit if is_unbuilt else None)

    def _take_over(self, earlier: FrozenTrial) -> Outcome:
        """Reuse the result of an earlier trial with the same parameters."""
        take_over(watched_alone(self._trial, self._recipe.objectives), earlier)
        self._recipe.constraints.take_time(self._trial, None)
        is_complete = earlier.state is TrialState.COMPLETE
        return Outcome(Ending.REPEAT, earlier.values if is_complete else None)

    def _made_ready(
        self, model: keras.Model, arguments: Mapping[str, Any], *, is_first: bool
    ) -> TrainingInputs:
        """Return what the training gets, after checking the model and letting it train fast."""
        trial, recipe, ledger = self._trial, self._recipe, self._ledger
        folder = os.path.join(trial.study.study_name, f"trial_{trial.number:04d}")
        if ledger.length > 1:
            folder = os.path.join(folder, f"training_{ledger.number}")
        inputs = TrainingInputs.of(recipe, self._fit, trial, arguments, folder, ledger.number)
        if self._record.epochs is None:  # set before the trial's first training only
            self._record.epochs = inputs.fit.epochs_per_training * ledger.length
        check = self._check and is_first
        make_ready(model, inputs, check=check)
        # The loss may hide what is not finite, since relu turns NaN into 0.
        if check and (where := not_finite.find(self._fit)) is not None:
            _check.warn(f"{where}. Fill it or drop the rows, unless the model takes it.")
        return inputs

    @property
    def _not_finite(self) -> str | None:
        """Where the data of the trial contains NaN or infinity."""
        is_shared = self._fit is self._recipe.fit
        return self._recipe.not_finite if is_shared else not_finite.find(self._fit)

    def _finished(self, model: keras.Model, builds: FitArguments | None) -> Outcome:
        """Keep the trial's logs, and its weights if it is among the best; return its outcome.

        Args:
            model: The model of the trial's last training.
            builds: The data from which Keras created variables that the builder had not created.
        """
        trial, recipe, ledger = self._trial, self._recipe, self._ledger
        self._record.n_params = model.count_params()
        recipe.constraints.take_time(trial, ledger.seconds)
        error: TunerError | None = None
        if recipe.keep_best != 0:
            error = history.save(recipe.store, trial, ledger.rows, self._archive.folder)
        if ledger.ending is not Ending.COMPLETE:
            return Outcome(ledger.ending, error=error)
        error = self._archive.error or error
        if enters_best(trial, ledger.means, recipe):
            if self._is_untrained:
                _check.warn(_UNTRAINED)
            else:
                if ledger.state_of_best is not None:
                    give_back(model, ledger.state_of_best)
                error = save(recipe, trial, model, builds) or error
        return Outcome(Ending.COMPLETE, ledger.means, error)


def forbidden(trial: optuna.Trial, reason: str) -> Outcome:
    """Record why a trial ended before its training."""
    record = TrialRecord(trial)
    record.stop_reason, record.epochs_run = reason, 0
    return Outcome(Ending.FORBIDDEN)
