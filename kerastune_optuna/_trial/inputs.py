"""What one training of a trial gets, and how it is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras
from optuna.trial import BaseTrial

from kerastune_optuna._data import (
    FitArguments,
    Given,
    check_builders_arguments,
    check_training,
)
from kerastune_optuna._exceptions import is_fatal
from kerastune_optuna._study import TrialRecord
from kerastune_optuna._trial.batches import batched
from kerastune_optuna._trial.bridge import Bridge, TrainingOver
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.recipe import Recipe
from kerastune_optuna._trial.rehearsal import rehearse
from kerastune_optuna._trial.steps import set_steps
from kerastune_optuna._trial.user_callbacks import for_trial, may_add_metrics


@dataclass(frozen=True)
class TrainingInputs:
    """Hold the inputs of one training: the recipe, and what its trial and its builder add.

    Args:
        recipe: What all trainings share.
        fit: The data and arguments of this training.
        callbacks: The callbacks of the user and of the builder for this training.
    """

    recipe: Recipe
    fit: FitArguments
    callbacks: Sequence[keras.callbacks.Callback]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        fit: Given,
        trial: BaseTrial,
        arguments: Mapping[str, Any],
        folder: str,
        training: int = 0,
    ) -> TrainingInputs:
        """Return the inputs of one training of a trial.

        Args:
            recipe: What all trainings share.
            fit: What the trial passes to Model.fit.
            trial: The trial.
            arguments: The arguments of Model.fit that its builder returned with the model.
            folder: The subfolder of the user's folders in which its callbacks write.
            training: The number of the training, which determines its fold and its seed.

        Raises:
            ArgumentError: The builder's arguments are invalid.
        """
        check_builders_arguments(arguments)
        others = dict(arguments)
        callbacks = for_trial(recipe.callbacks, others.pop("callbacks", None), trial, folder)
        seed = TrialRecord(trial).seed_of(training, recipe.seed)
        of_training = fit.of_training(others, training, seed)
        check_training(of_training, recipe.objectives, may_add=may_add_metrics(callbacks))
        return cls(recipe, of_training, callbacks)

    def let_train_fast(self, model: keras.Model) -> None:
        """Let a model train with fewer traces and calls if that changes only the time."""
        callbacks = self.callbacks
        if self.recipe.has_own_fit:
            # The builder's fit may change the data and the model, and add callbacks that act on
            # batches. So nothing is rehearsed, and one callback that acts on batches makes
            # set_steps() keep one step per call unless the user asks for more.
            callbacks = [Bridge(Ledger(None), [])]
        else:
            rehearse(model, self.fit.specification())
        set_steps(model, self.fit, callbacks)

    def train(
        self,
        trial: BaseTrial,
        model: keras.Model,
        ledger: Ledger,
        bridge: Bridge,
        verbose: str | int = 0,
    ) -> Any:
        """Train the model, with the builder's own fit if it has one.

        Args:
            trial: The trial that is trained.
            model: Its model.
            ledger: Its ledger.
            bridge: The bridge of the training.
            verbose: As for Model.fit.

        Returns:
            What the fit returned; None if it was left after the training was over.
        """
        callbacks = bridge.around(self.callbacks)
        keywords = {**self.fit.as_keywords(), "verbose": verbose, "callbacks": callbacks}
        beginning = self.fit.beginning
        with nullcontext() if beginning is None else beginning.of_training():
            try:
                if self.recipe.has_own_fit:
                    return self._train_by_builder(trial, model, keywords)
                return model.fit(**batched(model, keywords))
            except TrainingOver:
                return None
            except Exception as error:  # the user's code may raise anything after half a training
                if is_fatal(error) or ledger.is_open or not self.recipe.has_own_fit:
                    raise
                return None

    def _train_by_builder(
        self, trial: BaseTrial, model: keras.Model, keywords: dict[str, Any]
    ) -> Any:
        # Callbacks need the model in on_epoch_end. The builder's own loop may call on_epoch_end
        # without setting the model first, so this CallbackList sets it.
        callbacks = keywords["callbacks"]
        keras.callbacks.CallbackList(callbacks, model=model, epochs=self.fit.epochs)
        return self.recipe.build_model.fit(trial, model, **keywords)  # type: ignore[attr-defined] # it has
