"""What all trials of a search share, and what one training gets from that and from its builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeAlias, TypeVar

import keras
from optuna.trial import BaseTrial, FrozenTrial

from kerastune_optuna import _optuna, _source
from kerastune_optuna._backend import compiled_metrics, set_all
from kerastune_optuna._data import (
    FitArguments,
    check_builders_arguments,
    check_training,
    data_of_trial,
    of_fold,
)
from kerastune_optuna._data import not_finite as _not_finite
from kerastune_optuna._exceptions import BuilderError, StudyMismatchError, is_fatal
from kerastune_optuna._search import explain, with_defaults
from kerastune_optuna._storage import StoreSource
from kerastune_optuna._study import Constraints, Objectives, TrialRecord
from kerastune_optuna._trial import shared
from kerastune_optuna._trial.batches import batched
from kerastune_optuna._trial.custom_fit import trains_itself
from kerastune_optuna._trial.fits import TrainingOver
from kerastune_optuna._trial.rehearsal import rehearse
from kerastune_optuna._trial.steps import set_steps
from kerastune_optuna._trial.stop import StopOnRequest
from kerastune_optuna._trial.user_callbacks import for_trial, may_add_metrics

_T = TypeVar("_T")
Builder: TypeAlias = Callable[[BaseTrial], keras.Model | tuple[keras.Model, Mapping[str, Any]]]

_SEED_OF_DATA = 0
_OF_KERAS_TUNER = ("Int", "Float", "Choice", "Boolean", "Fixed", "conditional_scope")


@dataclass(frozen=True)
class Recipe:
    """Hold what all trials of a search share."""

    build_model: Builder
    objectives: Objectives
    fit: FitArguments
    callbacks: Sequence[Any]
    seed: int | None
    keep_best: int | None  # None: as many as the study remembers
    store: StoreSource
    backup_every: float | None
    train_repeats: bool = False
    executions: int = 1
    card: str | None = None  # the key of the card that tells of this search
    constraints: Constraints = field(default_factory=Constraints)
    known: Sequence[FrozenTrial] = ()  # trials of other studies that the sampler sees
    sampler_seed: int | None = None  # of a sampler that was made for the search
    rebuilt: list[int] = field(default_factory=list)  # trials whose models this process built again

    @property
    def n_trainings(self) -> int:
        """How many trainings a trial has: one for each execution of each fold."""
        return self.executions * max(1, len(self.fit.folds))

    @property
    def epochs_in_all(self) -> int:
        """How many epochs a trial runs that is not stopped early, those of all its trainings."""
        return self.n_trainings * self.fit.epochs_per_training

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digests of the builder's code and of what it reads, as they are at the first look."""
        return _source.digests(self.build_model)

    @cached_property
    def digests_with_data(self) -> dict[str, str]:
        """The `digests`, with those of the functions of the trial that make the data.

        A lambda is left out: only its whole lines can be read, with whatever else is on them.
        """
        found = dict(self.digests)
        for function in self.fit.functions.values():
            found |= {k: v for k, v in _source.digests(function).items() if "<lambda>" not in k}
        return found

    def with_data_of(self, trial: BaseTrial) -> Recipe:
        """Return the same with the data of a trial, where functions of the trial make it.

        Raises:
            ArgumentError: A function made nothing that can be trained on.
            StudyMismatchError: A function asks for another parameter than in trials before.
        """
        if not self.fit.functions:
            return self
        fit = _asked_again(self.build_model, trial, partial(_data_of, self.fit, trial))
        return replace(self, fit=fit)

    def opened_fit(self) -> FitArguments:
        """Return what all trials pass to Model.fit, its data opened under the seed of the search.

        TensorFlow gives the random operations of a pipeline their seeds when it is made.

        Raises:
            ArgumentError: The data cannot be trained on.
        """
        if self.seed is not None:
            set_all(self.seed)
        return self.fit.opened()

    @cached_property
    def not_finite(self) -> str | None:
        """Where the data of the search holds NaN or infinity; each process looks once."""
        return _not_finite.find(self.fit)

    def of_trial(
        self,
        trial: BaseTrial,
        arguments: Mapping[str, Any],
        folder: str,
        training: int = 0,
    ) -> TrainingInputs:
        """Return what one training of a trial gets.

        Args:
            trial: The trial.
            arguments: What its builder returned beside its model.
            folder: Where its callbacks write, below the user's own folders.
            training: The number of the training, which tells its fold and its seed.

        Raises:
            ArgumentError: The builder's arguments cannot work.
        """
        check_builders_arguments(arguments)
        others = dict(arguments)
        callbacks = for_trial(self.callbacks, others.pop("callbacks", None), trial, folder)
        fit = of_fold(self.fit.with_builders(others), training)
        check_training(fit, self.objectives, may_add=may_add_metrics(callbacks))
        fit = fit.of_training(TrialRecord(trial).seed_of(training, self.seed))
        return TrainingInputs(self, fit, callbacks)


@dataclass(frozen=True)
class TrainingInputs:
    """Hold what one training gets: the recipe, and what its trial and its builder add.

    Args:
        recipe: What it shares with all others.
        fit: Its data and arguments.
        callbacks: The user's callbacks for it, and its builder's.
    """

    recipe: Recipe
    fit: FitArguments
    callbacks: Sequence[keras.callbacks.Callback]

    def let_train_fast(self, model: keras.Model) -> None:
        """Let a model train with fewer traces and calls, where that changes only the time."""
        if trains_itself(self.recipe.build_model):
            # The builder's fit may change data and model, and add callbacks that act on batches. So
            # nothing is rehearsed, and ours, which acts on batches, makes set_steps() leave one
            # step a call, unless the user asks for more.
            set_steps(model, self.fit, [StopOnRequest()])
            return
        rehearse(model, self.fit.specification())
        set_steps(model, self.fit, self.callbacks)

    def train(
        self,
        trial: BaseTrial,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback],
        is_over: Callable[[], bool] = lambda: False,
        verbose: str | int = 0,
    ) -> Any:
        """Train the model, by the builder's own fit where it has one.

        Args:
            trial: The trial that is trained.
            model: Its model.
            callbacks: All of them, ours too.
            is_over: Whether the training was ended from outside, as by pruning.
            verbose: As for Model.fit.

        Returns:
            What its fit returned; None where an exception ended it after the training was over.
        """
        build_model = self.recipe.build_model
        keywords = {**self.fit.as_keywords(), "verbose": verbose, "callbacks": callbacks}
        if not trains_itself(build_model):
            return model.fit(**batched(model, keywords))
        # A CallbackList gives callbacks the model. A training loop of the builder's own may not do
        # so, and call nothing but on_epoch_end, for which they need it.
        keras.callbacks.CallbackList(callbacks, model=model, epochs=self.fit.epochs)
        try:
            return build_model.fit(trial, model, **keywords)  # type: ignore[attr-defined] # it has
        except TrainingOver:
            return None
        except Exception as error:  # the user's code may raise anything after half of a training
            if is_fatal(error) or not is_over():
                raise
            return None


def build(
    build_model: Builder, trial: BaseTrial, seed: int | None = None
) -> tuple[keras.Model, Mapping[str, Any]]:
    """Return the compiled model for a trial's parameters, and what Model.fit is to get with it.

    Where the builder trains the model itself, it may come uncompiled.

    Args:
        build_model: The builder.
        trial: The trial.
        seed: What its training starts from; None where it is not trained.

    Raises:
        BuilderError: The builder returned something else, was written for KerasTuner, or its model
            shares what other models trained or would train.
        StudyMismatchError: The builder asks for another parameter than trials before.
    """
    if seed is not None:
        set_all(seed)
    before = shared.there_before(build_model)
    model, arguments = _as_pair(_called(build_model, trial))
    if not (model.compiled or trains_itself(build_model)):  # its fit may compile the model
        raise BuilderError(
            f"build_model returned the model {model.name!r} uncompiled. Call model.compile("
            "optimizer=..., loss=..., metrics=[...]) before you return it."
        )
    shared.check(model, before)
    # A metric object may be in other models too, and hold their counts. Keras resets it only once
    # it is built into this model.
    for metric in compiled_metrics(model):
        if isinstance(metric, keras.Metric):
            metric.reset_state()
    return model, arguments


def build_again(
    build_model: Builder, trial: FrozenTrial, seed: int | None = None
) -> tuple[keras.Model, Mapping[str, Any]]:
    """Return what `build` returns, for a finished trial.

    A parameter that the builder did not ask for when the trial ran has its value from
    `default_params`.

    Args:
        build_model: The builder.
        trial: A copy of the trial, which gets the defaults.
        seed: The seed that its training starts from; None where it is not trained.

    Raises:
        BuilderError: The builder returned something else.
        StudyMismatchError: The builder asks for another parameter, of which it has no default.
    """
    return _asked_again(
        build_model, trial, lambda: build(build_model, _optuna.without_constraints(trial), seed)
    )


def _data_of(fit: FitArguments, trial: BaseTrial) -> FitArguments:
    """Return the arguments of Model.fit with the data that functions make for a trial.

    What they draw by chance does not depend on the trial.
    """
    set_all(_SEED_OF_DATA)
    try:
        return data_of_trial(fit, trial)
    except (TypeError, ValueError) as error:
        for function in fit.functions.values():
            explain(error, function, trial, "a function of the data")
        raise


def _asked_again(build_model: Builder, trial: BaseTrial, make: Callable[[], _T]) -> _T:
    """Return what is made for a trial, with defaults where a finished one lacks a parameter."""
    try:
        return make()
    except StudyMismatchError:
        if not (isinstance(trial, FrozenTrial) and with_defaults(build_model, trial)):
            raise
        return make()


def _called(build_model: Builder, trial: BaseTrial) -> Any:
    try:
        return build_model(trial)
    except (TypeError, ValueError) as error:
        explain(error, build_model, trial)
        raise
    except AttributeError as error:
        if isinstance(error.obj, BaseTrial) and error.name in _OF_KERAS_TUNER:
            raise BuilderError(
                f"build_model calls {error.name}() of its trial, which KerasTuner's hp has and an "
                "Optuna trial does not. Pass from_keras_tuner(build_model), which gives it an hp, "
                "or ask for parameters by trial.suggest_int, suggest_float and suggest_categorical."
            ) from error
        raise


def _as_pair(made: Any) -> tuple[keras.Model, Mapping[str, Any]]:
    """Return the model that a builder returned, and the arguments of fit beside it."""
    parts = made if isinstance(made, tuple) else (made, {})
    if len(parts) == 2 and isinstance(parts[0], keras.Model) and isinstance(parts[1], Mapping):
        return parts
    kinds = " and ".join(type(one).__name__ for one in (parts if parts is made else (made,)))
    came = "None (is its `return model` missing?)" if made is None else kinds
    raise BuilderError(
        f"build_model returned {came}. Return a compiled keras.Model, or beside it a dict of "
        'arguments of Model.fit, as in (model, {"batch_size": 32}).'
    )
