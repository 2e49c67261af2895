"""The models of the best trials, or of the front: whether one ranks, and how it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import keras
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _study, _weights
from kerastune_optuna._exceptions import WeightsError
from kerastune_optuna._fit import FitArguments
from kerastune_optuna._recipe import Builder, Recipe, build_again
from kerastune_optuna._store import StoreSource
from kerastune_optuna._variables import make_again, remember, unbuildable
from kerastune_optuna._weights import UnfitWeightsError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_INPUTS = "inputs"  # the user attr with the inputs of a model that came without all variables


def enters_best(study: optuna.Study, number: int, values: Sequence[float], recipe: Recipe) -> bool:
    """Whether a trial will be among those that keep their weights, as the study stands."""
    if not recipe.keep_best:
        return False
    if recipe.objectives.are_several:
        return _enters_front(study, values, recipe)
    watched = recipe.objectives.watched
    own = (watched.cost(values[watched.place]), number)

    def leads(other: FrozenTrial) -> bool:
        # As `best` ranks: of equal values the earlier trial leads, whichever ended first.
        return (watched.cost(watched.value_of(other)), other.number) < own

    leading = filter(leads, _known(study))
    if len(list(islice(leading, recipe.keep_best))) == recipe.keep_best:
        return False
    best = _study.best(study, watched, recipe.keep_best)
    return len(best) < recipe.keep_best or not leads(best[-1])


def _enters_front(study: optuna.Study, values: Sequence[float], recipe: Recipe) -> bool:
    """Whether no other trial dominates these values."""

    def dominates(other: FrozenTrial) -> bool:
        return recipe.objectives.dominate(other.values, values)

    return not any(map(dominates, _known(study))) and not any(map(dominates, _study.front(study)))


def _known(study: optuna.Study) -> Iterator[FrozenTrial]:
    """Give the trials that were COMPLETE when this one began, which costs no query."""
    # Others can only have come since. The first few of thousands mostly tell.
    return filter(_study.may_be_best, study._get_trials(deepcopy=False, use_cache=True))


def discard_outranked(study: optuna.Study, recipe: Recipe) -> None:
    """Delete the weights of finished trials that are not among the best."""
    # A RUNNING trial may just have saved weights that are about to rank. And what ends after this
    # line is not looked at: it may be among the best that are read next.
    finished = [one for one in study.get_trials(deepcopy=False) if one.state.is_finished()]
    best = {trial.number for trial in _keepers(study, recipe)}
    for trial in finished:
        if trial.number not in best:
            _weights.discard(recipe.store, study._storage, trial)


def _keepers(study: optuna.Study, recipe: Recipe) -> list[FrozenTrial]:
    if recipe.objectives.are_several and recipe.keep_best:
        return _study.front(study)
    return _study.best(study, recipe.objectives.watched, recipe.keep_best)


def save(
    recipe: Recipe, trial: optuna.Trial, model: keras.Model, builds: FitArguments | None
) -> WeightsError | None:
    """Save the model's weights; return what went wrong, since the trial has its result anyway.

    Args:
        recipe: The recipe of the search.
        trial: The trial.
        model: Its model, with the weights that are kept.
        builds: The data that made variables which the model came without.
    """
    try:
        _weights.save(recipe.store, trial, model)
    except WeightsError as error:
        return error
    if builds is not None:
        trial.set_user_attr(_INPUTS, json.dumps(remember(model, _batch_of(builds))))
    return None


def _batch_of(fit: FitArguments) -> Any:
    """Return a symbolic batch; None where not even reading the data tells."""
    try:
        return fit.specification_of_a_batch()
    except Exception:  # the user's data may raise anything, and the trial has its result
        return None


def rebuild(
    build_model: Builder, store: StoreSource, storage: BaseStorage, trial: FrozenTrial
) -> keras.Model:
    """Return the compiled model of a finished trial with the weights of its best epoch.

    Raises:
        BuilderError: The builder returned something else than a compiled model.
        WeightsError: The weights are not kept, or do not fit the model.
    """
    asked_before = dict(trial.distributions)
    model, _ = build_again(build_model, trial)
    if _INPUTS in trial.user_attrs:
        _make_again(model, trial)
    model.built = True  # which Keras does not say of a model that only its steps call
    try:
        _weights.load(store, storage, trial, model)
    except UnfitWeightsError as error:
        asked = trial.distributions  # into which the builder's call wrote what it asked for
        if not (gone := [name for name, one in asked_before.items() if asked[name] is one]):
            raise
        raise WeightsError(
            f"build_model no longer asks for {' and '.join(map(repr, gone))}, which trial "
            f"{trial.number} had, and its weights do not fit. Restore the builder of that search."
        ) from error
    _weights.let_files_be_whole(model)
    return model


def _make_again(model: keras.Model, trial: FrozenTrial) -> None:
    """Make the variables that a model came without, as its trial did."""
    try:
        make_again(model, json.loads(trial.user_attrs[_INPUTS]))
    except Exception as error:  # layers of the user may raise anything
        raise WeightsError(f"Trial {trial.number} has weights. {unbuildable(model)}") from error
