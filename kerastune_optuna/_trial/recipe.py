"""What all trials of a search share, and the model that its builder makes for each of them.

Models may share variables that existed before the builder was called. A base model that is loaded
once and stays frozen can serve all trials. If it were trained, each trial would start from what
earlier trials learnt, and models already returned would change.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import keras
import optuna
from optuna.trial import BaseTrial, FrozenTrial

from kerastune_optuna import _digest, _generators, _optuna
from kerastune_optuna._backend import compiled_metrics, optimizer_of, set_all
from kerastune_optuna._data import Given
from kerastune_optuna._exceptions import BuilderError, StudyMismatchError
from kerastune_optuna._keras_tuner import refuse_methods_of_hp
from kerastune_optuna._search import explain, with_defaults
from kerastune_optuna._storage import PatientStore
from kerastune_optuna._study import Card, Constraints, Keeping, Objectives, TrialFiles
from kerastune_optuna._trial.variables import checksum_of

Builder: TypeAlias = Callable[[BaseTrial], keras.Model | tuple[keras.Model, Mapping[str, Any]]]

_SEED_OF_DATA = 0

_STATE = "seed_generator_state"  # the end of the path of a SeedGenerator's variable
_seen: WeakValueDictionary[int, keras.Variable] = WeakValueDictionary()  # of earlier models
_optimizers: WeakSet[keras.optimizers.Optimizer] = WeakSet()  # of earlier models
_frozen: WeakKeyDictionary[keras.Model, dict[int, int]] = WeakKeyDictionary()  # checksums by id


@dataclass(frozen=True)
class Recipe:
    """Hold the settings that all trials share, whatever data and study a call has."""

    build_model: Builder
    objectives: Objectives
    callbacks: Sequence[Any]
    seed: int | None
    store: PatientStore
    backup_every: float | None
    train_repeats: bool = False
    executions: int = 1
    constraints: Constraints = field(default_factory=Constraints)

    def loaded(self, fit: Given) -> Given:
        """Return what all trials pass to Model.fit, with the data loaded under the search's seed.

        TensorFlow seeds the random operations of a pipeline when the pipeline is created.

        Raises:
            ArgumentError: The data cannot be trained on.
        """
        if self.seed is not None:
            set_all(self.seed)
        return fit.loaded()

    def n_trainings(self, fit: Given) -> int:
        """Return how many trainings a trial has: one for each execution of each fold."""
        return self.executions * max(1, len(fit.folds))

    def epochs_in_all(self, fit: Given) -> int:
        """Return how many epochs a trial runs in all of its trainings, unless it stops early."""
        return self.n_trainings(fit) * fit.epochs_per_training

    def keeping(self, study: optuna.Study, asked: int | str) -> Keeping:
        """Return what decides which trials of a study keep their weights."""
        return Keeping(
            study, TrialFiles(self.store, _optuna.storage_of(study)), self.objectives, asked
        )


@dataclass(frozen=True)
class Call:
    """Hold what the trials of one call of search(), confirm() or refit() share in one process.

    Args:
        recipe: What all trials of the search share.
        fit: The arguments of Model.fit; a process that trains has loaded their data.
        card: Says which other searches are the same as this one.
        keep_best: How many trials keep their weights; "auto" if no search has ever set a number.
        warm_trials: Trials of other studies that the sampler sees.
        sampler_seed: The seed of a sampler that was made for the search.
        rebuilt: The numbers of trials whose models this process has rebuilt.
    """

    recipe: Recipe
    fit: Given
    card: Card = field(default_factory=Card)
    keep_best: int | str = 0
    warm_trials: Sequence[FrozenTrial] = ()
    sampler_seed: int | None = None
    rebuilt: list[int] = field(default_factory=list)

    def fit_of(self, trial: BaseTrial) -> Given:
        """Return what a trial passes to Model.fit, with the data that functions make for it.

        If a finished trial lacks a parameter, it takes its value from `default_params`.

        Raises:
            ArgumentError: A function returned data that cannot be trained on.
            StudyMismatchError: A function asks for a parameter that earlier trials did not have.
        """
        if not self.fit.functions:
            return self.fit
        try:
            return _data_of(self.fit, trial)
        except StudyMismatchError:
            if not (
                isinstance(trial, FrozenTrial) and with_defaults(self.recipe.build_model, trial)
            ):
                raise
            return _data_of(self.fit, trial)


def build(
    build_model: Builder, trial: BaseTrial, seed: int | None = None
) -> tuple[keras.Model, Mapping[str, Any]]:
    """Return the compiled model for a trial's parameters, and the builder's arguments of Model.fit.

    If the builder trains the model itself, the model may be uncompiled.

    Args:
        build_model: The builder.
        trial: The trial.
        seed: The seed that its training starts from; None if it is not trained.

    Raises:
        BuilderError: The builder returned something else, was written for KerasTuner, or its model
            shares variables with other models that are trained.
        StudyMismatchError: The builder asks for a parameter that earlier trials did not have.
    """
    if seed is not None:
        set_all(seed)
    read = _digest.read_by(build_model)
    layers = [one for one in read if isinstance(one, keras.Layer)]
    before = {id(variable) for layer in layers for variable in layer.variables}
    own = _generators.restore_read(read)
    model, arguments = _made_by(build_model, trial)
    # A builder's own fit may compile the model.
    if not (model.compiled or callable(getattr(build_model, "fit", None))):
        raise BuilderError(
            f"build_model returned the model {model.name!r} uncompiled. Call model.compile("
            "optimizer=..., loss=..., metrics=[...]) before returning it."
        )
    _check_shared(model, before, own)
    # Other models may share a metric object, which then holds their counts. Keras resets it only
    # once it is built into this model.
    for metric in compiled_metrics(model):
        if isinstance(metric, keras.Metric):
            metric.reset_state()
    return model, arguments


def build_again(
    build_model: Builder, trial: FrozenTrial, seed: int | None = None
) -> tuple[keras.Model, Mapping[str, Any]]:
    """Return what `build` returns, for a finished trial.

    A parameter that the builder did not ask for when the trial ran takes its value from
    `default_params`.

    Args:
        build_model: The builder.
        trial: A copy of the trial, to which the defaults are added.
        seed: The seed that its training starts from; None if it is not trained.

    Raises:
        BuilderError: The builder returned something else.
        StudyMismatchError: The builder asks for a parameter that neither the trial nor
            `default_params` has.
    """
    try:
        return build(build_model, _optuna.without_constraints(trial), seed)
    except StudyMismatchError:
        if not with_defaults(build_model, trial):
            raise
        return build(build_model, _optuna.without_constraints(trial), seed)


def _data_of(fit: Given, trial: BaseTrial) -> Given:
    """Return the arguments of Model.fit with the data that functions make for a trial.

    The functions start from a fixed seed, so that their random draws do not depend on the trial.
    """
    set_all(_SEED_OF_DATA)
    _generators.restore_read(_digest.read_by(*fit.functions.values()))
    try:
        return fit.loaded(trial)
    except (TypeError, ValueError) as error:
        for function in fit.functions.values():
            explain(error, function, trial, "a function of the data")
        raise


def _made_by(build_model: Builder, trial: BaseTrial) -> tuple[keras.Model, Mapping[str, Any]]:
    """Call a builder; return its model, and its arguments of Model.fit."""
    try:
        made: Any = build_model(trial)
    except (TypeError, ValueError) as error:
        explain(error, build_model, trial)
        raise
    except AttributeError as error:
        refuse_methods_of_hp(error)
        raise
    parts = made if isinstance(made, tuple) else (made, {})
    if len(parts) == 2 and isinstance(parts[0], keras.Model) and isinstance(parts[1], Mapping):
        return parts
    every = [kind for one in parts for kind in type(one).__mro__]
    if any(kind.__module__.startswith("tf_keras.") for kind in every):
        raise BuilderError(
            f"build_model returned a {every[0].__name__} of tf_keras, which is Keras 2. Build it "
            "with Keras 3: `import keras`, without the variable TF_USE_LEGACY_KERAS."
        )
    kinds = " and ".join(type(one).__name__ for one in (parts if parts is made else (made,)))
    came = "None (is its `return model` missing?)" if made is None else kinds
    raise BuilderError(
        f"build_model returned {came}. Return a compiled keras.Model, or a tuple of the model and "
        'a dict of arguments of Model.fit, as in (model, {"batch_size": 32}).'
    )


def _check_shared(model: keras.Model, before: set[int], own: Container[int]) -> None:
    """Reject a model whose training would change variables that other models use too.

    Shared seed generators are reset from the trial's seed instead.

    Args:
        model: The model that a builder returned after the random generators were seeded.
        before: The ids of the variables that existed before the builder was called.
        own: The ids of the states of generators that the builder reads, which were reset.

    Raises:
        BuilderError: The model trains shared variables, or has the optimizer of an earlier model.
    """
    variables = model.variables
    shared = [one for one in variables if id(one) in before or _seen.get(id(one)) is one]
    _seen.update((id(one), one) for one in variables)
    if shared:
        trained = {id(one) for one in model.trainable_variables}
        _refuse(one for one in shared if id(one) in trained)
        chance = random.Random()  # so that Python's generator does not advance
        chance.setstate(random.getstate())
        for variable in shared:
            if variable.path.endswith(_STATE) and id(variable) not in own:
                variable.assign([chance.getrandbits(31), 0])
        weights = [one for one in shared if not one.path.endswith(_STATE)]
        _frozen[model] = {id(one): checksum_of(one) for one in weights}
    # An optimizer keeps its state for the variables of the model that it was compiled with.
    if (optimizer := optimizer_of(model)) is None:
        return
    if optimizer in _optimizers:
        raise BuilderError(
            f"build_model compiled its model with an optimizer, {optimizer.name!r}, that an "
            "earlier model was compiled with and that keeps state for that model's variables. "
            "Make the optimizer inside of build_model, or pass its name."
        )
    _optimizers.add(optimizer)


def check_trained(model: keras.Model) -> None:
    """Reject a training that changed variables of other models, such as those of a shared base.

    Raises:
        BuilderError: The training changed a shared variable.
    """
    if (before := _frozen.get(model)) is not None:
        shared = [one for one in model.variables if id(one) in before]
        _refuse(one for one in shared if before[id(one)] != checksum_of(one))


def _refuse(changing: Iterable[keras.Variable]) -> None:
    """Reject a training that changes shared variables, if it changes any."""
    if (first := next(iter(changing), None)) is not None:
        raise BuilderError(
            f"build_model returned a model with the variable {first.path!r}, which existed "
            "before the call and which its training changes: each trial would start from what "
            "earlier trials learnt. Load the base inside of build_model, or clone it there "
            "(clone_model and set_weights), or freeze it (trainable = False) in all trials."
        )
