"""The model of a trial that is among the best: it is saved, and rebuilt."""

from __future__ import annotations

import copy
import json
from contextlib import suppress

import keras
import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check, _optuna
from kerastune_optuna._data import FitArguments, to_plain
from kerastune_optuna._exceptions import TunerError, WeightsError
from kerastune_optuna._scratch import ScratchError
from kerastune_optuna._storage import StoreAwayError
from kerastune_optuna._study import TrialFiles, TrialRecord
from kerastune_optuna._trial import failure, weights
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.recipe import Builder, Call, build_again
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


def save_if_best(
    call: Call,
    trial: optuna.Trial,
    model: keras.Model,
    ledger: Ledger,
    builds: FitArguments | None,
    *,
    is_trained: bool,
) -> TunerError | None:
    """Save the model's weights if the trial is among those that keep them.

    Args:
        call: What the trials of the search share.
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
    keeping = call.recipe.keeping(study, call.keep_best)
    if own.number not in keeping.among([*study.get_trials(deepcopy=False), own]):
        return None
    if not is_trained:
        _check.warn(_UNTRAINED)
        return None
    if ledger.state_of_best is not None:
        give_back(model, ledger.state_of_best)
    try:
        weights.save(keeping.files.store, trial, model)
        if builds is not None:
            batch = None  # stays None if not even reading the data shows its shapes
            with suppress(Exception):  # the user's data may raise anything
                batch = builds.specification_of_a_batch()
            remembered = {"shapes": model.get_build_config(), "batch": to_plain(batch)}
            TrialRecord(trial).inputs = json.dumps(remembered)
        if not call.rebuilt:
            _rebuild_once(call, keeping.files, trial, model)
    except ScratchError:
        raise
    except TunerError as error:
        return error
    return None


def _rebuild_once(call: Call, files: TrialFiles, trial: optuna.Trial, model: keras.Model) -> None:
    """Rebuild the first model that a process keeps, as best_model() will.

    If this model cannot be rebuilt, none of the others can, and without this check the user would
    learn of it only after the search.

    Raises:
        TunerError: The model cannot be rebuilt.
    """
    stored = _optuna.as_stored(trial.study, trial)
    try:
        rebuilt = rebuild(call.recipe.build_model, files, stored, instead=_ON_TRIAL_ALONE)
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
    call.rebuilt.append(trial.number)


def rebuild(
    build_model: Builder,
    files: TrialFiles,
    trial: FrozenTrial,
    instead: str = "Restore the builder of that search, and the dtype policy that it ran under.",
) -> keras.Model:
    """Return the compiled model of a trial with the weights of its best epoch.

    Args:
        build_model: The builder.
        files: The files of the study's trials.
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
        weights.load(files, trial, model)
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
