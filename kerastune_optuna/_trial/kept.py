"""The models of the best trials or of the Pareto front: which are kept, saved and rebuilt."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from contextlib import suppress

import keras
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check, _optuna, _signals
from kerastune_optuna._data import FitArguments, to_plain
from kerastune_optuna._exceptions import TunerError, WeightsError
from kerastune_optuna._scratch import ScratchError
from kerastune_optuna._storage import PatientStore, StoreAwayError
from kerastune_optuna._study import Ranking, StudyRecord, TrialRecord, Watch, ranked
from kerastune_optuna._trial import failure, files, weights
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.recipe import Builder, Recipe, build_again
from kerastune_optuna._trial.variables import (
    build_optimizer,
    check_untracked,
    give_back,
    make_again,
    unbuildable,
)
from kerastune_optuna._trial.weights import UnfitWeightsError

_ON_TRIAL_ALONE = (
    "Let build_model depend only on its trial, not on chance or earlier calls, and let its own fit "
    "keep the layers of the model that it gets."
)
_UNTRAINED = (
    "The builder's fit did not train the model that it got, so best_model() will have none to "
    "return. Train that model too, say on all rows in the end, or pass cv= to search()."
)
_UNASKED = 5  # how many trials keep their weights if no search has set a number
_LARGE = 1_000_000  # parameters, 4 MB: of larger models, only the best one is kept unasked


def keeps(study: optuna.Study, asked: int | str) -> int:
    """Return how many trials of a study keep their weights.

    Args:
        study: The study, which has the number of its latest search on record.
        asked: The number to use; "auto" for the recorded one.
    """
    if not isinstance(asked, str):
        return asked
    return _UNASKED if (recorded := StudyRecord(study).keep_best) is None else recorded


def record_keep_best(study: optuna.Study, asked: int | str) -> int | str:
    """Return how many trials keep their weights from now on; record a number that was asked for.

    Args:
        study: The study that is about to be searched.
        asked: The number for this search; "auto" for the number that the study has on record.

    Returns:
        The number; "auto" if none was ever asked for.
    """
    if isinstance(asked, str):
        return asked if (recorded := StudyRecord(study).keep_best) is None else recorded
    if asked < (before := keeps(study, "auto")) and StudyRecord(study).finished:
        _signals.print_line(
            f"keep_best={asked}: study {study.study_name!r} kept its best {before} models and now "
            f"deletes all but {asked}"
        )
    StudyRecord(study).keep_best = asked
    return asked


def tidy(
    study: optuna.Study, recipe: Recipe, kept_by: Callable[[], set[int]] | None = None
) -> None:
    """Delete the files of finished trials from the store, except those that are to be kept.

    Args:
        study: The study of the trials.
        recipe: The recipe that they were trained with.
        kept_by: Returns the numbers of the trials that keep their weights. Default: the best.
    """
    store, storage = recipe.store, _optuna.storage_of(study)
    finished = discard_outranked(study, recipe, kept_by)
    running = (one for one in study.get_trials(deepcopy=False) if not one.state.is_finished())
    needed = {name for trial in running for name in files.ids(storage, trial, files.BACKUP)}
    for trial in finished:
        if needed.isdisjoint(files.ids(storage, trial, files.BACKUP)):
            files.discard(store, storage, trial, files.BACKUP)
        if trial.state is TrialState.FAIL:  # its process may have died before it told the result
            files.discard(store, storage, trial, files.HISTORY)


def discard_outranked(
    study: optuna.Study, recipe: Recipe, kept_by: Callable[[], set[int]] | None = None
) -> list[FrozenTrial]:
    """Delete the weights of finished trials that do not keep them; return the finished trials.

    An excluded trial keeps its weights, since the user may include it again. If the study was
    copied, trials that ran before keep their weights: the original may need them.

    Args:
        study: The study of the trials.
        recipe: The recipe that they were trained with.
        kept_by: Returns the numbers of the trials that keep their weights. Default: the best.
    """
    # The finished trials are read before those that keep weights. Otherwise a trial that ended in
    # between would lose weights that it should keep. A RUNNING trial may just have saved such
    # weights.
    finished = [one for one in Watch.own_trials(study) if one.state.is_finished()]
    kept = kept_by() if kept_by else _kept_of(study.get_trials(deepcopy=False), study, recipe)
    for trial in finished:
        if trial.number not in kept and TrialRecord(trial).excluded is None:
            files.discard(recipe.store, _optuna.storage_of(study), trial, files.WEIGHTS)
    return finished


def _kept_of(trials: Sequence[FrozenTrial], study: optuna.Study, recipe: Recipe) -> set[int]:
    """Return the numbers of those trials of a study that keep their weights, if these were all."""
    count, objectives = keeps(study, recipe.keep_best), recipe.objectives
    if objectives.are_several and count:
        return {one.number for one in Ranking(objectives.directions).first(trials)}
    best, is_asked = ranked(trials, objectives.watched, count), recipe.keep_best != "auto"
    # If nobody asked for more, a model that is large is kept only if it is the best.
    return {
        one.number
        for rank, one in enumerate(best)
        if rank == 0 or is_asked or (TrialRecord(one).n_params or 0) <= _LARGE
    }


def save_if_best(
    recipe: Recipe,
    trial: optuna.Trial,
    model: keras.Model,
    ledger: Ledger,
    builds: FitArguments | None,
    *,
    is_trained: bool,
) -> TunerError | None:
    """Save the model's weights if the trial is among those that keep them.

    Args:
        recipe: The recipe of the search.
        trial: The trial.
        model: The model of its last training, which gets the weights of the best one.
        ledger: The ledger, whose trainings have all ended.
        builds: The data from which Keras created variables that the builder had not created; None
            if the builder had created all.
        is_trained: Whether a builder's own fit trained it, and not another model.

    Returns:
        The error, if any. The caller raises it later, since the trial has its result anyway.

    Raises:
        ScratchError: The temporary folder cannot be used, so the trial is to be run again.
    """
    study, own = trial.study, copy.copy(_optuna.as_known(trial))
    own.state, own.values = TrialState.COMPLETE, ledger.means  # as the study will have it
    if own.number not in _kept_of([*study.get_trials(deepcopy=False), own], study, recipe):
        return None
    if not is_trained:
        _check.warn(_UNTRAINED)
        return None
    if ledger.state_of_best is not None:
        give_back(model, ledger.state_of_best)
    try:
        weights.save(recipe.store, trial, model)
        if builds is not None:
            batch = None  # stays None if not even reading the data shows its shapes
            with suppress(Exception):  # the user's data may raise anything
                batch = builds.specification_of_a_batch()
            remembered = {"shapes": model.get_build_config(), "batch": to_plain(batch)}
            TrialRecord(trial).inputs = json.dumps(remembered)
        if not recipe.rebuilt:
            _rebuild_once(recipe, trial, model)
    except ScratchError:
        raise
    except TunerError as error:
        return error
    return None


def _rebuild_once(recipe: Recipe, trial: optuna.Trial, model: keras.Model) -> None:
    """Rebuild the first model that a process keeps, as best_model() will.

    If this model cannot be rebuilt, none of the others can, and without this check the user would
    learn of it only after the search.

    Raises:
        TunerError: The model cannot be rebuilt.
    """
    storage = _optuna.storage_of(trial.study)
    stored = _optuna.as_stored(trial.study, trial)
    try:
        build_model, store = recipe.build_model, recipe.store
        rebuilt = rebuild(build_model, store, storage, stored, instead=_ON_TRIAL_ALONE)
        check_untracked(model, rebuilt)
    except StoreAwayError:
        raise  # once the store responds again, the model may well be rebuilt
    except WeightsError as error:
        raise WeightsError(
            f"The search stops because best_model() could not return its first model: {error} "
            "To search without keeping models, pass keep_best=0."
        ) from error
    except TunerError:
        raise
    except Exception:  # the builder may fail for this trial only, or two models exceed the memory
        return  # the next model that is kept may be rebuilt
    recipe.rebuilt.append(trial.number)


def rebuild(
    build_model: Builder,
    store: PatientStore,
    storage: BaseStorage,
    trial: FrozenTrial,
    instead: str = "Restore the builder of that search, and the dtype policy that it ran under.",
) -> keras.Model:
    """Return the compiled model of a trial with the weights of its best epoch.

    Args:
        build_model: The builder.
        store: The store in which the weights are kept.
        storage: The storage of the trial's study.
        trial: The trial.
        instead: What the error tells the user to do if the builder returns a different model.

    Raises:
        BuilderError: The builder returned something other than a compiled model.
        WeightsError: The weights were not kept, or do not fit the model.
    """
    trial = copy.deepcopy(trial)  # so that the builder's changes do not reach Optuna's cache
    asked_before = dict(trial.distributions)
    model, _ = build_again(build_model, trial)
    if (inputs := TrialRecord(trial).inputs) is not None:
        try:
            make_again(model, json.loads(inputs))
        except Exception as error:  # the user's layers may raise anything
            if failure.is_of_memory(error):
                raise
            raise WeightsError(f"Trial {trial.number} has weights. {unbuildable(model)}") from error
    # Keras leaves this False if the model's own steps call its layers and never the model.
    model.built = True
    try:
        weights.load(store, storage, trial, model)
    except UnfitWeightsError as error:
        asked = trial.distributions  # the builder's call replaced those that it asked for
        gone = [name for name, one in asked_before.items() if asked[name] is one]
        if not gone:
            raise WeightsError(f"{error} {instead}") from error
        raise WeightsError(
            f"build_model no longer asks for {' and '.join(map(repr, gone))}, which trial "
            f"{trial.number} had, and its weights do not fit. {instead}"
        ) from error
    build_optimizer(model)  # otherwise loading a file of the saved model would raise a warning
    return model
