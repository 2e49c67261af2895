"""The models of the best trials, or of the front: whether one ranks, and how it is kept."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import filterfalse, islice

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
from kerastune_optuna._trial.variables import make_again, remember, unbuildable
from kerastune_optuna._trial.weights import UnfitWeightsError

_ON_TRIAL_ALONE = (
    "Let build_model depend on its trial alone, not on chance or earlier calls, and let a fit of "
    "its own keep the layers that it was given."
)
_UNASKED = 1  # how many trials keep their weights where no search asked for a number


def keeps(study: optuna.Study, asked: int | None) -> int:
    """Return how many trials of a study keep their weights: the most that was asked for.

    Args:
        study: The study, which remembers what searches asked for.
        asked: What is asked for now; None for nothing.
    """
    known = _asked_before(study)
    return max(known if asked is None else [asked, *known], default=_UNASKED)


def _asked_before(study: optuna.Study) -> list[int]:
    """Return what searches asked for, each in an attr of its own: several may ask at once."""
    return list(map(int, _optuna.attrs_below(study, StudyRecord.KEEP_BEST)))


def claim_keeping(study: optuna.Study, asked: int | None) -> int:
    """Return how many trials keep their weights from now on, which the study is to remember.

    A search that asks for fewer than an earlier one has the rest deleted, unless another search may
    be at work that asked for them.

    Args:
        study: The study that is about to be searched.
        asked: What this search asks for; None for what the study remembers.
    """
    before = max(_asked_before(study), default=0)
    if asked is not None and asked < before:
        if _may_be_searched(study):
            _tell(study, asked, f"keeps its best {before} models, since others may be at work")
            return before
        _tell(study, asked, f"kept its best {before} models, and deletes all but {asked}")
        for number in filter(lambda number: number > asked, _asked_before(study)):
            _optuna.set_attr(study, f"{StudyRecord.KEEP_BEST}{number}", False)
    number = keeps(study, asked)
    _optuna.set_attr(study, f"{StudyRecord.KEEP_BEST}{number}", True)
    return number


def _may_be_searched(study: optuna.Study) -> bool:
    """Whether another search may be at work, which has begun a trial or is about to."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return TrialState.RUNNING in states or not any(one.is_finished() for one in states)


def _tell(study: optuna.Study, asked: int, what: str) -> None:
    _signals.tell(f"keep_best={asked}: study {study.study_name!r} {what}")


def enters_best(study: optuna.Study, number: int, values: Sequence[float], recipe: Recipe) -> bool:
    """Whether a trial will be among those that keep their weights, as the study stands."""
    count = keeps(study, recipe.keep_best)
    if not count:
        return False
    if recipe.objectives.are_several:
        return _enters_front(study, values, recipe)
    watched = recipe.objectives.watched
    own = (watched.cost(values[watched.place]), number)

    def leads(other: FrozenTrial) -> bool:
        # As `best` ranks: of equal values the earlier trial leads, whichever ended first.
        return (watched.cost(watched.value_of(other)), other.number) < own

    leading = filter(leads, _complete_before(study))
    if len(list(islice(leading, count))) == count:
        return False
    best = ranking.best(study, watched, count)
    return len(best) < count or not leads(best[-1])


def _enters_front(study: optuna.Study, values: Sequence[float], recipe: Recipe) -> bool:
    """Whether no other trial dominates these values."""
    # The front is read from the storage only where none of the known trials dominates.
    directions, readers = recipe.objectives.directions, (_complete_before, ranking.front)
    return not any(ranking.are_dominated(values, read(study), directions) for read in readers)


def _complete_before(study: optuna.Study) -> Iterator[FrozenTrial]:
    """Yield the trials that were COMPLETE when this one began, which takes no query."""
    # Trials that ended since are missing. Most trials are outranked by these already, and only for
    # the others do the callers read all trials from the storage.
    return filter(ranking.may_be_best, _optuna.known_trials(study))


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
    weights.let_files_be_whole(model)
    return model


def _make_again(model: keras.Model, trial: FrozenTrial, inputs: str) -> None:
    """Make the variables that the builder did not make, as the trial's training did."""
    try:
        make_again(model, json.loads(inputs))
    except Exception as error:  # layers of the user may raise anything
        raise WeightsError(f"Trial {trial.number} has weights. {unbuildable(model)}") from error
