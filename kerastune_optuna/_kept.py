"""The models of the best trials: whether one ranks, and its weights with what rebuilds it."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

import keras
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _study, _weights
from kerastune_optuna._exceptions import WeightsError
from kerastune_optuna._recipe import Builder, Recipe, build
from kerastune_optuna._store import StoreSource
from kerastune_optuna._study import value_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_SHAPES = "build_config"  # the user attr with the input shapes of a model that came unbuilt


def enters_best(study: optuna.Study, number: int, value: float, recipe: Recipe) -> bool:
    """Whether a trial will be among the `keep_best` best of the study so far."""
    cost = recipe.objective.cost

    def leads(other: FrozenTrial) -> bool:
        # As `best` ranks: of equal values the earlier trial leads, whichever ended first.
        return (cost(value_of(other)), other.number) < (cost(value), number)

    # What was known when this trial began costs no query, and others can only have become better.
    known = study._get_trials(deepcopy=False, use_cache=True)
    leading = (other for other in known if _study.may_be_best(other) and leads(other))
    if len(list(islice(leading, recipe.keep_best))) == recipe.keep_best:
        return False
    best = _study.best(study, recipe.objective, recipe.keep_best)
    return len(best) < recipe.keep_best or not leads(best[-1])


def discard_outranked(study: optuna.Study, recipe: Recipe) -> None:
    """Delete the weights of finished trials that are not among the best."""
    best = {trial.number for trial in _study.best(study, recipe.objective, recipe.keep_best)}
    for trial in study.get_trials(deepcopy=False):
        # A RUNNING trial may just have saved weights that are about to rank.
        if trial.state.is_finished() and trial.number not in best:
            _weights.discard(recipe.store, study._storage, trial)


def save(
    recipe: Recipe, trial: optuna.Trial, model: keras.Model, *, came_built: bool
) -> WeightsError | None:
    """Save the model's weights; return what went wrong, since the trial has its result anyway."""
    try:
        _weights.save(recipe.store, trial, model)
    except WeightsError as error:
        return error
    if not came_built:
        trial.set_user_attr(_SHAPES, json.dumps(model.get_build_config()))
    return None


def rebuild(
    build_model: Builder, store: StoreSource, storage: BaseStorage, trial: FrozenTrial
) -> keras.Model:
    """Return the compiled model of a finished trial with the weights of its best epoch.

    Raises:
        BuilderError: The builder returned something else than a compiled model.
        WeightsError: The weights are not kept, or do not fit the model.
    """
    model, _ = build(build_model, trial)
    if not model.built and _SHAPES in trial.user_attrs:
        _weights.make_variables(model, json.loads(trial.user_attrs[_SHAPES]))
    _weights.load(store, storage, trial, model)
    return model
