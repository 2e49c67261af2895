"""The models of the best trials, or of the front: whether one ranks, and how it is kept."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import filterfalse

import keras
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._data import FitArguments
from kerastune_optuna._exceptions import TunerError, WeightsError
from kerastune_optuna._storage import StoreAwayError, StoreSource
from kerastune_optuna._study import StudyRecord, TrialRecord, liveness, ranking
from kerastune_optuna._trial import files, weights
from kerastune_optuna._trial.recipe import Builder, Recipe, build_again
from kerastune_optuna._trial.variables import build_optimizer, make_again, remember, unbuildable
from kerastune_optuna._trial.weights import UnfitWeightsError

_ON_TRIAL_ALONE = (
    "Let build_model depend on its trial alone, not on chance or earlier calls, and let a fit of "
    "its own keep the layers that it was given."
)
_UNASKED = 1  # how many trials keep their weights where no search asked for a number


def keeps(study: optuna.Study, asked: int | None) -> int:
    """Return how many trials of a study keep their weights.

    Args:
        study: The study, which remembers what its latest search asked for.
        asked: What is asked for now; None for nothing.
    """
    if asked is not None:
        return asked
    return _UNASKED if (known := StudyRecord(study).keep_best) is None else known


def claim_keeping(study: optuna.Study, asked: int | None) -> int:
    """Return how many trials keep their weights from now on, which the study is to remember.

    Args:
        study: The study that is about to be searched.
        asked: What this search asks for; None for what the study remembers.
    """
    number, before = keeps(study, asked), StudyRecord(study).keep_best or 0
    if number < before:
        _signals.tell(
            f"keep_best={number}: study {study.study_name!r} kept its best {before} models, and "
            f"deletes all but {number}"
        )
    StudyRecord(study).keep_best = number
    return number


def enters_best(study: optuna.Study, number: int, values: Sequence[float], recipe: Recipe) -> bool:
    """Whether a trial will be among those that keep their weights, as the study stands."""
    count, objectives = keeps(study, recipe.keep_best), recipe.objectives
    if not count:
        return False
    watched = objectives.watched
    own = watched.cost(values[watched.place]), number

    def outrank(others: Iterable[FrozenTrial]) -> bool:
        if objectives.are_several:
            return ranking.are_dominated(values, others, objectives.directions)
        # As `best` ranks: of equal values the earlier trial leads, whichever ended first.
        costs = ((watched.cost(watched.value_of(one)), one.number) for one in others)
        return sum(cost < own for cost in costs) >= count

    # Most trials are outranked by those that were COMPLETE when they began, which takes no query.
    if outrank(filter(ranking.may_be_best, _optuna.known_trials(study))):
        return False
    several = objectives.are_several
    return not outrank(ranking.front(study) if several else ranking.best(study, watched, count))


def tidy(
    study: optuna.Study, recipe: Recipe, kept_by: Callable[[], set[int]] | None = None
) -> None:
    """Delete what finished trials left in a store, except what is kept.

    Args:
        study: Their study.
        recipe: What they were trained with.
        kept_by: Returns the numbers of those that keep their weights; by default the best.
    """
    store, storage = recipe.store, _optuna.storage_of(study)
    finished = discard_outranked(study, store, kept_by or partial(keepers, study, recipe))
    running = (one for one in study.get_trials(deepcopy=False) if not one.state.is_finished())
    needed = {name for trial in running for name in files.ids(storage, trial, files.BACKUP)}
    for trial in finished:
        if needed.isdisjoint(files.ids(storage, trial, files.BACKUP)):
            files.discard(store, storage, trial, files.BACKUP)
        if trial.state is TrialState.FAIL:  # of a process that died before it told the result
            files.discard(store, storage, trial, files.HISTORY)


def discard_outranked(
    study: optuna.Study, store: StoreSource, keepers: Callable[[], set[int]]
) -> list[FrozenTrial]:
    """Delete the weights of finished trials that do not keep them; return the finished ones.

    Those of trials that the study was copied with stay, since the first study may need them.
    """
    # The finished trials are read before the keepers: the other way round, a trial that ended in
    # between would lose weights that rank. A RUNNING trial may just have saved such weights.
    own = filterfalse(liveness.ran_elsewhere(study), study.get_trials(deepcopy=False))
    finished = [one for one in own if one.state.is_finished()]
    kept = keepers()
    for trial in finished:
        if trial.number not in kept:
            files.discard(store, _optuna.storage_of(study), trial, files.WEIGHTS)
    return finished


def keepers(study: optuna.Study, recipe: Recipe) -> set[int]:
    """Return the numbers of the trials of a search that keep their weights."""
    count = keeps(study, recipe.keep_best)
    if recipe.objectives.are_several and count:
        return {trial.number for trial in ranking.front(study)}
    return {trial.number for trial in ranking.best(study, recipe.objectives.watched, count)}


def save(
    recipe: Recipe, trial: optuna.Trial, model: keras.Model, builds: FitArguments | None
) -> TunerError | None:
    """Save the model's weights; return what went wrong, since the trial has its result anyway.

    Args:
        recipe: The recipe of the search.
        trial: The trial.
        model: Its model, with the weights that are kept.
        builds: The data from which Keras made variables that the builder had not made; None where
            it had made all.
    """
    try:
        weights.save(recipe.store, trial, model)
        if builds is not None:
            batch = None  # a symbolic one, unless not even reading the data tells its shapes
            with suppress(Exception):  # the user's data may raise anything
                batch = builds.specification_of_a_batch()
            TrialRecord(trial).inputs = json.dumps(remember(model, batch))
        if not recipe.rebuilt:
            _rebuild_once(recipe, trial)
    except TunerError as error:
        return error
    return None


def _rebuild_once(recipe: Recipe, trial: optuna.Trial) -> None:
    """Build the first model that a process keeps once again, as best_model() will.

    What stands in the way of that one would stand in the way of all others, and the user would hear
    of it only after the search.

    Raises:
        TunerError: It does not come back.
    """
    recipe.rebuilt.append(trial.number)
    storage = _optuna.storage_of(trial.study)
    # The builder gets a copy: what it does to its trial must not reach Optuna's cache.
    stored = copy.deepcopy(_optuna.as_stored(trial.study, trial))
    try:
        rebuild(recipe.build_model, recipe.store, storage, stored, instead=_ON_TRIAL_ALONE)
    except StoreAwayError:
        raise  # the model may well come back once the store does
    except WeightsError as error:
        raise WeightsError(
            f"The search ends with its first model, which best_model() could not return: {error} "
            "To search without keeping models, pass keep_best=0."
        ) from error
    except TunerError:
        raise
    except Exception:  # the builder's own, of this trial alone; or two models need too much memory
        return


def rebuild(
    build_model: Builder,
    store: StoreSource,
    storage: BaseStorage,
    trial: FrozenTrial,
    instead: str = "Restore the builder of that search, and the dtype policy that it ran under.",
) -> keras.Model:
    """Return the compiled model of a trial with the weights of its best epoch.

    Args:
        build_model: The builder.
        store: Where the weights are.
        storage: The storage of the trial's study.
        trial: A copy of the trial.
        instead: What to do where the builder returns another model than was trained.

    Raises:
        BuilderError: The builder returned something other than a compiled model.
        WeightsError: The weights are not kept, or do not fit the model.
    """
    asked_before = dict(trial.distributions)
    model, _ = build_again(build_model, trial)
    if (inputs := TrialRecord(trial).inputs) is not None:
        _make_again(model, trial, inputs)
    # Keras leaves this False where the model's own steps call its layers, never the model.
    model.built = True
    try:
        weights.load(store, storage, trial, model)
    except UnfitWeightsError as error:
        asked = trial.distributions  # into which the builder's call wrote what it asked for
        gone = [name for name, one in asked_before.items() if asked[name] is one]
        if not gone:
            raise WeightsError(f"{error} {instead}") from error
        raise WeightsError(
            f"build_model no longer asks for {' and '.join(map(repr, gone))}, which trial "
            f"{trial.number} had, and its weights do not fit. {instead}"
        ) from error
    build_optimizer(model)  # a file of the model would load with a warning that this is not done
    return model


def _make_again(model: keras.Model, trial: FrozenTrial, inputs: str) -> None:
    """Make the variables that the builder did not make, as the trial's training did."""
    try:
        make_again(model, json.loads(inputs))
    except Exception as error:  # layers of the user may raise anything
        raise WeightsError(f"Trial {trial.number} has weights. {unbuildable(model)}") from error
