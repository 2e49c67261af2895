"""Train the configuration of a finished trial once more, as the trial did, outside of a study."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

import keras
from optuna.trial import FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._backend import check_threads, policy_kept, seeds_kept
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._study import Home, Objective, Objectives, TrialRecord
from kerastune_optuna._trial import (
    EpochLogs,
    Fits,
    Recipe,
    TrainingOver,
    best_of,
    build_again,
    check_kind,
    check_steps,
    custom_fit,
    gate,
)
from kerastune_optuna._workers import card, shown_once


def _train(
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
    own = recipe.of_trial(trial, model, arguments, folder, training)
    own = replace(own, fit=replace(own.fit, epochs=epochs))
    fits = Fits(until, [until])
    callbacks = [*own.callbacks, until]
    if custom_fit.trains_itself(recipe.build_model):
        callbacks = [gate(until.begin_fit), *own.callbacks, fits]
    own.make_ready(model)
    keywords = {**own.fit.as_keywords(), "verbose": verbose, "callbacks": callbacks}
    came = custom_fit.train(recipe.build_model, trial, keywords, model, lambda: until.is_over)
    return model, fits.history if came is None else came


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


def _as_it_is(callback: Any) -> Any:
    """Return a function that gives a callback of the user's as it was passed, and no copy."""
    if isinstance(callback, keras.callbacks.Callback):
        return lambda trial: callback
    check_kind(callback)
    return callback


def refit(
    home: Home, recipe: Recipe, number: int | None, epochs: int | None, verbose: str | int
) -> tuple[keras.Model, Any]:
    """Train a trial's configuration anew; nothing is written to its study.

    Args:
        home: Where the study lives.
        recipe: What to train with, with the user's callbacks.
        number: The trial's; None for the best.
        epochs: How many to train; None for as many as led to its best epoch.
        verbose: As for Model.fit.

    Returns:
        The model with the weights of its last epoch, and what its fit returned.
    """
    check_threads()
    check_steps(recipe.fit.steps_per_execution)
    callbacks = [_as_it_is(callback) for callback in recipe.callbacks]
    chosen = copy.deepcopy(home.best(number))
    if card.is_of_other_builder(home.existing, chosen, recipe.build_model):
        _check.warn(
            f"The code of build_model has changed since trial {chosen.number} was trained: "
            "refit() trains what it returns now."
        )
    n, until = (epochs, Until([])) if epochs is not None else _up_to_the_best(home, chosen, recipe)
    # Nothing is scored. A recipe needs an objective, and the loss needs no validation data.
    objectives = Objectives((Objective("loss", "minimize"),))
    recipe = replace(recipe, objectives=objectives, callbacks=callbacks, executions=1)
    values = TrialRecord(chosen).values or [0.0]  # of each training, where it had several
    with shown_once(), seeds_kept(), policy_kept():
        recipe = replace(recipe, fit=replace(recipe.fit, epochs=n))
        recipe = replace(recipe, fit=recipe.opened_fit())
        return _train(
            recipe,
            chosen,
            # Callbacks that are copied wrote into the trial's own folder when it ran.
            os.path.join(home.name, f"refit_{chosen.number:04d}"),
            training=best_of(values, home.objectives.watched),
            epochs=n,
            verbose=verbose,
            until=until,
        )


def _up_to_the_best(home: Home, trial: FrozenTrial, recipe: Recipe) -> tuple[int, Until]:
    """Return which epochs to ask for, and the callback that ends after the best one.

    Raises:
        ArgumentError: The best one is not recorded.
    """
    best = TrialRecord(trial).best_epoch  # counted from 0
    if best is None:
        raise ArgumentError(
            f"epochs=None: trial {trial.number} has no best_epoch, as trials that a tuner ran "
            "have. Pass how many epochs to train."
        )
    fits, known = TrialRecord(trial).fits, card.read(home.existing, trial)
    ends = [end for end in accumulate(fits or []) if end <= best]
    until = Until([*ends, best + 1])
    if fits is None or known is None:
        return recipe.fit.first_epoch + best + 1, until
    # The builder's fit may choose the epochs of each of its fits by the search's epochs=.
    return known["arguments"]["epochs"], until
