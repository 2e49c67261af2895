"""Train the configuration of a finished trial once more, as its trial was, outside of a study."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import keras
from optuna.trial import BaseTrial, FrozenTrial

from kerastune_optuna import _own_fit
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._monitor import Objective
from kerastune_optuna._recipe import Recipe, build_again
from kerastune_optuna._seeds import seed_of
from kerastune_optuna._series import best_of
from kerastune_optuna._steps import lean_graphs
from kerastune_optuna._stop import StopOnRequest
from kerastune_optuna._user_callbacks import as_list

Factory: TypeAlias = Callable[[BaseTrial], Any]


def train(
    recipe: Recipe,
    trial: FrozenTrial,
    folder: str,
    *,
    training: int = 0,
    epochs: int | None = None,
    verbose: str | int = 0,
    last: Sequence[keras.callbacks.Callback] = (),
) -> tuple[keras.Model, Any]:
    """Train a trial's configuration from its seed.

    Args:
        recipe: What to train with, its data opened.
        trial: A copy of the trial.
        folder: Where the callbacks that are copied write, below the user's own folders.
        training: Which of a trial's trainings, where it has several: its seed and its fold.
        epochs: Goes before those of the recipe and of the builder.
        verbose: As for Model.fit.
        last: Callbacks that come after all others.

    Returns:
        The model, and what Model.fit or the builder's own fit returned.
    """
    seeds = trial.user_attrs.get("seeds") or [seed_of(trial, recipe.seed)]
    model, arguments = build_again(recipe.build_model, trial, seeds[training])
    own = recipe.of_trial(trial, model, arguments, folder, training)
    if epochs is not None:
        own = replace(own, fit=replace(own.fit, epochs=epochs))
    callbacks = [*own.callbacks, *last]
    own.make_ready(model, [*callbacks, StopOnRequest()])  # as in a trial, which has one
    keywords = {**own.fit.as_keywords(), "verbose": verbose, "callbacks": callbacks}
    with lean_graphs(model, own.fit):
        return model, _own_fit.train(recipe.build_model, trial, keywords, model)


def folder_for(study_name: str, kind: str, trial: FrozenTrial) -> str:
    """Return the folder for callbacks that wrote into that of the trial when it ran."""
    return os.path.join(study_name, f"{kind}_{trial.number:04d}")


def best_epochs(trial: FrozenTrial) -> int:
    """Return how many epochs lead to a trial's best one.

    Raises:
        ArgumentError: It is not recorded.
    """
    best: int | None = trial.user_attrs.get("best_epoch")  # counted from 0
    if best is None:
        raise ArgumentError(
            f"epochs=None: trial {trial.number} has no best_epoch, as trials that a tuner ran "
            "have. Pass how many epochs to train."
        )
    return best + 1


def best_training(trial: FrozenTrial, objective: Objective) -> int:
    """Return which of a trial's trainings was the best: the first where it had no more."""
    return best_of(trial.user_attrs.get("values", [0.0]), objective)


def as_they_are(callbacks: Any) -> list[Factory]:
    """Return functions that make the user's callbacks: those that were passed, and no copies."""
    return [_as_it_is(callback) for callback in as_list(callbacks)]


def _as_it_is(callback: Any) -> Factory:
    if isinstance(callback, keras.callbacks.Callback):
        return lambda trial: callback
    if isinstance(callback, type) or not callable(callback):
        raise ArgumentTypeError(
            f"callbacks holds {callback!r}, which is no keras Callback. Pass instances, or "
            "functions that take the trial and return one."
        )
    made: Factory = callback
    return made
