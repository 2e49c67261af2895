"""One trial: build, fit, score, and keep the weights where they rank."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import optuna
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from kerastune_optuna import _weights
from kerastune_optuna._callbacks import BestWeights, PruningCallback
from kerastune_optuna._exceptions import BuilderError
from kerastune_optuna._fit import FitArguments
from kerastune_optuna._liveness import INTERRUPTED
from kerastune_optuna._monitor import Objective
from kerastune_optuna._seeds import derive
from kerastune_optuna._study import ranked, value_of
from kerastune_optuna._user_callbacks import for_trial, may_add_metrics
from kerastune_optuna._weights import StoreSource

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

Builder: TypeAlias = Callable[[BaseTrial], keras.Model]

_SHAPES = "build_config"  # the user attr with the input shapes of a model that came unbuilt


@dataclass(frozen=True)
class Recipe:
    """Hold what all trials of a search share."""

    build_model: Builder
    objective: Objective
    fit: FitArguments
    callbacks: Sequence[Any]
    seed: int | None
    keep_best: int
    store: StoreSource


def run_trial(
    study: optuna.Study, trial: optuna.Trial, recipe: Recipe, *, check: bool
) -> FrozenTrial:
    """Train one configuration and tell the study how it ended.

    Args:
        study: The study that asked the trial.
        trial: The running trial.
        recipe: What all trials share.
        check: Whether to look for the objective among the metrics before training.

    Returns:
        The finished trial.
    """
    began = time.perf_counter()
    try:
        state, value = _train(study, trial, recipe, check=check)
    except BaseException as error:  # Ctrl-C too: no trial may stay RUNNING behind us
        trial.set_user_attr("stop_reason", _reason(error))
        study.tell(trial, state=TrialState.FAIL)
        raise
    trial.set_user_attr("seconds", round(time.perf_counter() - began, 3))
    finished = study.tell(trial, value, state)
    if _weights.has(study._storage, finished):
        discard_outranked(study, recipe)
    return finished


def _train(
    study: optuna.Study, trial: optuna.Trial, recipe: Recipe, *, check: bool
) -> tuple[TrialState, float | None]:
    """Build and fit the model; return how the trial ended and the value of its best epoch."""
    _seed(trial, recipe)
    model = build(recipe.build_model, trial)
    came_built = model.built
    if check:
        _check_objective(model, recipe)
    pruning = PruningCallback(trial, recipe.objective.name)
    best = BestWeights(pruning)
    own = for_trial(recipe.callbacks, trial, _folder(study, trial))
    model.fit(**recipe.fit.as_keywords(), verbose=0, callbacks=[*own, pruning, best])
    trial.set_user_attr("n_params", model.count_params())
    if pruning.best_value is None:
        return TrialState.FAIL, None
    if pruning.pruned:
        return TrialState.PRUNED, None
    if _enters_best(study, trial.number, pruning.best_value, recipe):
        best.restore()
        _weights.save(recipe.store, trial, model)
        if not came_built:
            trial.set_user_attr(_SHAPES, json.dumps(model.get_build_config()))
    return TrialState.COMPLETE, pruning.best_value


def build(build_model: Builder, trial: BaseTrial) -> keras.Model:
    """Return the compiled model for a trial's parameters.

    Raises:
        BuilderError: The builder returned something else.
    """
    model = build_model(trial)
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        came = "None (is its `return model` missing?)" if model is None else f"a {kind}"
        raise BuilderError(f"build_model returned {came}. Return a compiled keras.Model.")
    if not model.compiled:
        raise BuilderError(
            f"build_model returned the model {model.name!r} uncompiled. Call model.compile("
            "optimizer=..., loss=..., metrics=[...]) before you return it."
        )
    return model


def rebuild(
    build_model: Builder, store: StoreSource, storage: BaseStorage, trial: FrozenTrial
) -> keras.Model:
    """Return the compiled model of a finished trial with the weights of its best epoch.

    Raises:
        BuilderError: The builder returned something else than a compiled model.
        WeightsError: The weights are not kept, or do not fit the model.
    """
    model = build(build_model, trial)
    if not model.built and _SHAPES in trial.user_attrs:
        model.build_from_config(json.loads(trial.user_attrs[_SHAPES]))
        # Keras builds the layers of a subclassed model there and leaves the model marked unbuilt.
        model.built = True
    _weights.load(store, storage, trial, model)
    return model


def _seed(trial: optuna.Trial, recipe: Recipe) -> None:
    """Start Python's, NumPy's and Keras's generators from a seed of the trial's own."""
    seed = derive(recipe.seed, trial.number)
    trial.set_user_attr("seed", seed)
    keras.utils.set_random_seed(seed)


def _check_objective(model: keras.Model, recipe: Recipe) -> None:
    """Raise before any training where the model will not log the objective."""
    own_step = type(model).train_step is not keras.Model.train_step
    if may_add_metrics(recipe.callbacks) or (own_step and not recipe.objective.needs_validation):
        return  # only the first epoch can tell
    logs = recipe.fit.evaluate_once(model)
    names = set(logs)
    if recipe.fit.has_validation:
        names |= {f"val_{name}" for name in logs}
    if recipe.objective.find(names) is None:
        raise recipe.objective.missing(names)


def _enters_best(study: optuna.Study, number: int, value: float, recipe: Recipe) -> bool:
    """Whether a trial will be among the `keep_best` best of the study so far."""
    best = ranked(study, recipe.objective)[: recipe.keep_best]
    if len(best) < recipe.keep_best:
        return True
    # As `ranked` ranks: of equal values the earlier trial leads, whichever ended first.
    cost = recipe.objective.cost
    return bool(best) and (cost(value), number) < (cost(value_of(best[-1])), best[-1].number)


def discard_outranked(study: optuna.Study, recipe: Recipe) -> None:
    """Delete the weights of finished trials that are not among the best."""
    best = {trial.number for trial in ranked(study, recipe.objective)[: recipe.keep_best]}
    for trial in study.get_trials(deepcopy=False):
        # A RUNNING trial may just have saved weights that are about to rank.
        if trial.state.is_finished() and trial.number not in best:
            _weights.discard(recipe.store, study._storage, trial)


def _folder(study: optuna.Study, trial: optuna.Trial) -> str:
    """Return the folder, below the user's own, for what a trial's callbacks write."""
    return os.path.join(study.study_name, f"trial_{trial.number:04d}")


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
