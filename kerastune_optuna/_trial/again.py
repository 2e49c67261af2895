"""A training outside of a study, which goes as that of a finished trial went."""

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

    A pruned trial ended in the same way. With a smaller `epochs=` instead, callbacks that plan
    ahead, like schedules of the learning rate, would act otherwise than in the trial.

    Args:
        ends: After how many epochs of the training each fit ends; the last ends the training.
    """

    def __init__(self, ends: Collection[int]) -> None:
        super().__init__()
        self._ends = ends

    @property
    def is_over(self) -> bool:
        """Whether the training has ended."""
        return bool(self._ends) and len(self.rows) >= max(self._ends)

    def begin_fit(self) -> None:
        """Refuse another fit where the training is over.

        Raises:
            TrainingOver: The training is over.
        """
        if self.is_over:
            raise TrainingOver

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take a row, and end the fit where it is to end."""
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
    """Train a trial's configuration from its seed.

    Args:
        recipe: What to train with, its data opened.
        trial: A copy of the trial.
        folder: Where the callbacks that are copied write, below the user's own folders.
        training: Which of a trial's trainings, where it has several, for its seed.
        epochs: How many epochs to train, whatever the recipe and the builder say.
        verbose: As for Model.fit.
        until: Sees all epochs after all other callbacks, and may end the training; with no ends
            it sees them alone.

    Returns:
        The model, and what Model.fit or the builder's own fit returned; the History of the last
        phase, where the training was over before that fit returned.
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
