"""A training outside of a study that repeats the training of a finished trial."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import keras
from optuna.trial import FrozenTrial

from kerastune_optuna._study import Ending, TrialRecord
from kerastune_optuna._trial.bridge import Hook
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.ready import make_ready
from kerastune_optuna._trial.recipe import Call, build_again
from kerastune_optuna._trial.training import TrainingInputs


class Until(Hook):
    """End each fit after as many epochs as in the trial.

    Pruning stops a trial in the same way. Passing a smaller `epochs=` instead would change how
    callbacks that plan ahead, such as learning rate schedules, behave.

    Args:
        ends: The numbers of epochs, counted from the start of the training, after which a fit
            ends; the largest ends the training.
    """

    def __init__(self, ends: Collection[int]) -> None:
        self._ends = ends

    def epoch(self, ledger: Ledger, model: keras.Model) -> None:
        """End the fit, or the training, after its last epoch."""
        trained = len(ledger.now.rows)
        if trained >= max(self._ends):
            ledger.stop(Ending.COMPLETE, "the best epoch of the trial")
        elif trained in self._ends:
            model.stop_training = True


def train_again(
    call: Call,
    trial: FrozenTrial,
    folder: str,
    *,
    training: int,
    epochs: int,
    verbose: str | int,
    ends: Collection[int],
) -> tuple[keras.Model, Any]:
    """Train a trial's configuration again, from the same seed.

    Args:
        call: The recipe to train with, and its data, loaded.
        trial: A copy of the trial.
        folder: The subfolder of the user's folders in which copied callbacks write.
        training: The number of the training whose seed to use, if the trial has several.
        epochs: How many epochs to train; overrides the call and the builder.
        verbose: As for Model.fit.
        ends: The numbers of epochs after which its fits end; none to train all epochs.

    Returns:
        The model, and what Model.fit or the builder's own fit returned. If the training was over
        before the builder's fit returned, the History of the last fit that ended.

    Raises:
        KeyboardInterrupt: A signal had asked for the end of the search that calls this.
    """
    recipe, fit = call.recipe, call.fit_of(trial)
    seed = TrialRecord(trial).seed_of(training, recipe.seed)
    model, arguments = build_again(recipe.build_model, trial, seed)
    own = TrainingInputs.of(call, fit, trial, arguments, folder, training, seed)
    own = replace(own, fit=replace(own.fit, epochs=epochs))
    make_ready(model, own)
    # The epochs to train are known, whatever they log.
    ledger = Ledger(recipe.objectives.watched, compares=False)
    returned = own.run_fit(trial, model, ledger, [Until(ends)] if ends else [], verbose)
    if ledger.ending is Ending.CUT_OFF:
        raise KeyboardInterrupt  # as a signal had asked before the fit
    return model, returned
