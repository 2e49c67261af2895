"""Trials trained once more: anew on all data, or to see whether they come to the same."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras

from kerastune_optuna import _source
from kerastune_optuna._data import FitArguments, check_fit_arguments
from kerastune_optuna._rerun import (
    Until,
    as_they_are,
    best_training,
    ends_of_fits,
    folder_for,
    train,
)
from kerastune_optuna._rerun import reproduce as _reproduce
from kerastune_optuna._results import Results
from kerastune_optuna._study import Objective, Objectives
from kerastune_optuna._trial import FITS, Recipe, check_steps
from kerastune_optuna._workers import bundle, shown_once
from kerastune_optuna._workers import card as _card

if TYPE_CHECKING:
    import pandas
    from optuna.trial import FrozenTrial


class Again(Results):
    """Train the configurations of a study once more; nothing is written to it."""

    seed: int | None

    def refit(
        self,
        x: Any,
        y: Any = None,
        epochs: int | None = None,
        *,
        trial: int | None = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        verbose: str | int = "auto",
        steps_per_execution: int | str = "auto",
        **fit_kwargs: Any,
    ) -> tuple[keras.Model, Any]:
        """Train the best configuration anew, from its seed, say on all data.

        Of several trainings, as executions_per_trial= and cv= make them, that of the best is taken.

        Args:
            x: Training data, as search() takes it.
            y: Targets, where `x` does not hold them.
            epochs: How many to train. Default None: as many as led to the trial's best epoch.
            trial: Number of another COMPLETE trial. Default None: the best, which there is of one
                objective alone.
            validation_data: As for Model.fit; none is needed.
            validation_split: As for Model.fit. Default 0.0.
            callbacks: Keras callbacks, which are taken as they are; a function in the list is
                called with the trial and returns a callback.
            verbose: As for Model.fit. Default "auto".
            steps_per_execution: As for search(). Default "auto".
            **fit_kwargs: Anything else that Model.fit takes. Arguments that build_model returns
                beside its model go before these, but for `epochs`.

        Returns:
            The model with the weights of its last epoch, and the History that Model.fit returned,
            or whatever the builder's own fit did.

        Raises:
            ArgumentError: An argument cannot work. Nothing was trained.
            NoTrialsError: No trial is COMPLETE yet, or not the one of that number.
        """
        check_fit_arguments(fit_kwargs, "refit()")
        check_steps(steps_per_execution)
        chosen = copy.deepcopy(self._ranked(1)[0] if trial is None else self._complete(trial))
        if _card.is_of_other_builder(self.study, chosen, self.build_model):
            warnings.warn(
                f"The code of build_model has changed since trial {chosen.number} was trained: "
                "refit() trains what it returns now.",
                UserWarning,
                stacklevel=2,
            )
        n, until = epochs, None
        if n is None:
            n, until = self._up_to_the_best(chosen)
        fit = FitArguments(
            x, y, n, validation_data, validation_split, fit_kwargs, steps_per_execution
        )
        recipe = self._recipe_again(fit.opened(), as_they_are(callbacks))
        # Nothing is scored: the loss is there without validation.
        recipe = replace(recipe, objectives=Objectives((Objective("loss", "minimize"),)))
        with shown_once():
            folder = folder_for(self._name, "refit", chosen)
            best = best_training(chosen, self._objectives.watched)
            return train(
                recipe, chosen, folder, training=best, epochs=n, verbose=verbose, until=until
            )

    def _up_to_the_best(self, trial: FrozenTrial) -> tuple[int, Until]:
        """Return the epochs to train for, and what ends the training after the best of them."""
        ends = ends_of_fits(trial)
        card = _card.read(self.study, trial)
        if FITS not in trial.user_attrs or card is None:
            return ends[-1], Until(ends)
        # How many epochs each fit has may depend on those of the search.
        return card["arguments"]["epochs"], Until(ends)

    def reproduce(
        self,
        trial: int,
        x: Any = None,
        y: Any = None,
        *,
        validation_data: Any = None,
        **fit_kwargs: Any,
    ) -> pandas.DataFrame:
        """Train a trial again from its seed, and compare its epochs with what was recorded.

        It is trained with the data, the callbacks and the arguments of its search, which search()
        keeps in `directory`, and with the tuner's build_model; a pruned trial for as many epochs as
        it ran. What has changed since, like versions or data, is told in a warning.

        Args:
            trial: Number of a COMPLETE or PRUNED trial.
            x: Training data, where the search's was too large to be kept (100 MB).
            y: Targets likewise.
            validation_data: Likewise.
            **fit_kwargs: Likewise, like `sample_weight`.

        Returns:
            A pandas DataFrame with a row for each metric of each epoch: epoch (counted from 0),
            metric, recorded, again, and difference, which is relative for values beyond 1; with
            several trainings a trial also training.

        Raises:
            ArgumentError: There is no such trial, or what it was trained with was not kept.
        """
        check_fit_arguments(fit_kwargs, "reproduce()")
        _, card = _reproduce.find(self._existing, trial)
        kept = bundle.load(self._folder, card["kept"])
        given = {"x": x, "y": y, "validation_data": validation_data}
        own = {name: data for name, data in given.items() if data is not None}
        fit = replace(kept.fit, **own, others={**kept.fit.others, **fit_kwargs})
        with shown_once():
            recipe = replace(self._recipe_again(fit, kept.callbacks), executions=kept.executions)
            builder = _source.fingerprint(self.build_model)
            done = _reproduce.reproduce(self.study, trial, recipe, builder)
        if (changed := done.warning()) is not None:
            warnings.warn(changed, UserWarning, stacklevel=2)
        return done.frame()

    def _recipe_again(self, fit: FitArguments, callbacks: Any) -> Recipe:
        """Return a recipe for a training that no study hears of."""
        return Recipe(
            self.build_model, self._objectives, fit, callbacks, self.seed, 0, self._store, None
        )
