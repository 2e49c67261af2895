"""Train the configuration of a finished trial again as the trial did, but outside of a study."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

import keras
from optuna.trial import FrozenTrial

from kerastune_optuna import _check, _digest
from kerastune_optuna._backend import check_threads, seeds_kept
from kerastune_optuna._data import Given
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._generators import borrowed
from kerastune_optuna._study import Card, Home, Objective, Objectives, TrialRecord
from kerastune_optuna._trial import (
    Call,
    Recipe,
    check_kind,
    check_steps,
    number_of_best,
    train_again,
)
from kerastune_optuna._workers import shown_once


def _as_it_is(callback: Any) -> Any:
    """Return a factory that returns the user's callback itself, so that it is not copied."""
    if isinstance(callback, keras.callbacks.Callback):
        return lambda trial: callback
    check_kind(callback)
    return callback


def refit(
    home: Home,
    recipe: Recipe,
    fit: Given,
    trial: int | FrozenTrial | None,
    epochs: int | None,
    verbose: str | int,
) -> tuple[keras.Model, Any]:
    """Train a trial's configuration again, without writing to its study.

    Args:
        home: The home of the study.
        recipe: The recipe to train with, including the user's callbacks.
        fit: The other arguments of Model.fit; what they lack is as the trial had it.
        trial: The trial or its number; None for the best trial.
        epochs: How many epochs to train; None to stop after the trial's best epoch.
        verbose: As for Model.fit.

    Returns:
        The model with the weights of its last epoch, and what its fit returned.
    """
    check_threads()
    if fit.steps_per_execution != "auto":
        check_steps(fit.steps_per_execution)
    callbacks = [_as_it_is(callback) for callback in recipe.callbacks]
    chosen = copy.deepcopy(home.best(trial))
    card = Card.of(home.existing, chosen)
    if _digest.changed(card.code, _digest.digests(recipe.build_model)):
        _check.warn(
            f"The code of build_model has changed since trial {chosen.number} was trained: "
            "refit() trains what it returns now."
        )
    told = card.passed
    if epochs is not None:
        told.pop("initial_epoch", None)  # it counts for the epochs of the search alone
    fit = fit.completed(told)
    n, ends = (epochs, []) if epochs is not None else _up_to_the_best(chosen, fit, told)
    # A recipe needs an objective although nothing is scored; the loss needs no validation data.
    objectives, fit = Objectives([Objective("loss", "minimize")]), replace(fit, epochs=n)
    own = replace(recipe, objectives=objectives, callbacks=callbacks)
    values = TrialRecord(chosen).values or [0.0]  # one for each training if there were several
    functions = recipe.build_model, *fit.functions.values()
    with shown_once(), seeds_kept(), borrowed(*functions, of_keras=False):
        return train_again(
            Call(own, own.loaded(fit)),
            chosen,
            # When the trial ran, copied callbacks wrote to the trial's own folder.
            os.path.join(home.name, f"refit_{chosen.number:04d}"),
            training=number_of_best(values, home.objectives.watched),
            epochs=n,
            verbose=verbose,
            ends=ends,
        )


def _up_to_the_best(
    trial: FrozenTrial, fit: Given, told: Mapping[str, Any]
) -> tuple[int, list[int]]:
    """Return the number of epochs to pass, and those after which the trial's fits are to end.

    Raises:
        ArgumentError: The trial has no record of its best epoch.
    """
    best = TrialRecord(trial).best_epoch  # counted from 0
    if best is None:
        raise ArgumentError(
            f"epochs=None: trial {trial.number} has no best_epoch, which only trials run by a "
            "tuner have. Pass how many epochs to train."
        )
    fits = TrialRecord(trial).fits
    ends = [end for end in accumulate(fits or []) if end <= best]
    # The builder's fit may derive the epochs of its phases from the epochs= of the search.
    epochs = None if fits is None else told.get("epochs")
    if epochs is None:
        epochs = fit.first_epoch + best + 1
    return epochs, [*ends, best + 1]
