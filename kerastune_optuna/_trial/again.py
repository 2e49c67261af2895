"""A training outside of a study that repeats the training of a finished trial."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import keras
from optuna.trial import FrozenTrial

from kerastune_optuna._study import TrialRecord
from kerastune_optuna._trial.custom_fit import trains_itself
from kerastune_optuna._trial.fits import Fits, TrainingOver, gate
from kerastune_optuna._trial.history import EpochLogs
from kerastune_optuna._trial.recipe import Recipe, build_again


class Until(EpochLogs):
    """Collect the logs of all epochs, and end each fit after as many epochs as in the trial.

    Pruning stops a trial in the same way. Passing a smaller `epochs=` instead would change how
    callbacks that plan ahead, such as learning rate schedules, behave.

    Args:
        ends: The numbers of epochs, counted from the start of the training, after which a fit
            ends; the largest ends the training.
    """

    def __init__(self, ends: Collection[int]) -> None:
        super().__init__()
        self._ends = ends

    @property
    def is_over(self) -> bool:
        """Whether the training has ended."""
        return bool(self._ends) and len(self.rows) >= max(self._ends)

    def begin_fit(self) -> None:
        """Prevent another fit from starting once the training is over.

        Raises:
            TrainingOver: The training is over.
        """
        if self.is_over:
            raise TrainingOver

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Add a row of logs, and end the fit after its last epoch."""
        super().on_epoch_end(epoch, logs)
        if self.is_over or len(self.rows) in self._ends:
            self.model.stop_training = True


def train_again(
    recipe: Recipe,
    trial: FrozenTrial,
    folder: str,
    *,
    training: int,
    epochs: int,
    verbose: str | int,
    until: Until,
) -> tuple[keras.Model, Any]:
    """Train a trial's configuration again, from the same seed.

    Args:
        recipe: The recipe to train with, with its data opened.
        trial: A copy of the trial.
        folder: The subfolder of the user's folders in which copied callbacks write.
        training: The number of the training whose seed to use, if the trial has several.
        epochs: How many epochs to train; overrides the recipe and the builder.
        verbose: As for Model.fit.
        until: The callback that gets each epoch after all other callbacks and may end the
            training; without `ends`, it only collects the logs.

    Returns:
        The model, and what Model.fit or the builder's own fit returned. If the training was over
        before the builder's fit returned, the History of the last fit that ended.
    """
    seed = TrialRecord(trial).seed_of(training, recipe.seed)
    recipe = recipe.with_data_of(trial)
    model, arguments = build_again(recipe.build_model, trial, seed)
    own = recipe.of_trial(trial, arguments, folder, training)
    own = replace(own, fit=replace(own.fit, epochs=epochs))
    fits = Fits(until, [until])
    callbacks = [*own.callbacks, until]
    if trains_itself(recipe.build_model):
        callbacks = [gate(until.begin_fit), *own.callbacks, fits]
    own.let_train_fast(model)
    came = own.train(trial, model, callbacks, lambda: until.is_over, verbose)
    return model, fits.history if came is None else came
