"""Make the card of a search, and compare it with those of the trials that its study has."""

from __future__ import annotations

import json
import platform
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import keras
import numpy as np
import optuna
from optuna.trial import TrialState

from kerastune_optuna import _check, _digest
from kerastune_optuna._backend import accelerators, cores, keras_settings
from kerastune_optuna._data import Given, describe, is_loader, measure
from kerastune_optuna._digest import digest
from kerastune_optuna._exceptions import StudyMismatchError
from kerastune_optuna._study import Card, StudyRecord, TrialRecord
from kerastune_optuna._trial import Recipe

_PACKAGES = ("kerastune_optuna", "keras", "optuna", "numpy")
_AVERAGED = ("executions_per_trial", "cv")  # with these, a value is the mean of several trainings
_ANEW = "another study_name, or overwrite=True to start anew"
_LONGEST = 4000  # characters of an argument, since MySQL limits the size of an attribute


def card_of(recipe: Recipe, fit: Given) -> Card:
    """Return the card by which a new search is compared; data that is not loaded is unknown."""
    unknown = f"{Card.UNKNOWN} in search {uuid4()}"
    training = measure(fit.x, fit.y, fit.others.get("sample_weight"))
    if fit.folds:
        validation = measure(fit.x, fit.y)
    elif fit.validation_split:
        validation = measure(fit.x, fit.y, split=fit.validation_split)
    else:
        validation = measure(fit.validation_data)
    both = {"training": training, "validation": validation}
    _, floatx, data_format, policy = keras_settings()  # which a builder may change later
    return Card(
        settings={"floatx": floatx, "image_data_format": data_format, "dtype_policy": policy},
        study={"objective": recipe.objectives.aim},
        epochs_in_all=recipe.epochs_in_all(fit),
        measured={  # an array of objects has no measure
            name: unknown if parts is None else [unknown if one is None else one for one in parts]
            for name, parts in both.items()
        },
        code=_digest.digests(recipe.build_model, *fit.functions.values()),
        **_of_fit(recipe, fit),
    )


def card_in_study(
    card: Card,
    study: optuna.Study,
    recipe: Recipe,
    n_known: int,
    *,
    trains: bool,
    **told: int | None,
) -> Card:
    """Return the complete card of a search that is about to run.

    Args:
        card: The card by which the search was compared.
        study: The study, with its sampler and pruner.
        recipe: What its trials share.
        n_known: How many trials of other studies the sampler sees.
        trains: Whether this process trains.
        **told: More of the card: how many workers there are, and the seed of the sampler.
    """
    searched = {
        "name": study.study_name,
        **card.study,
        **recipe.constraints.described,
        "sampler": type(study.sampler).__name__,
        "pruner": type(study.pruner).__name__,
        "trials_known": n_known,
    }
    of_process = _of_process(trains=trains)
    return replace(card, **_plain({"seed": recipe.seed, "study": searched, **of_process, **told}))


def card_of_worker(card: Card, recipe: Recipe, fit: Given) -> Card:
    """Return the card of a search in a worker, which has its own devices and has loaded the data.

    Data that functions load is not measured here: what is compared is the same on the cards of all
    workers of a search, even if each draws other rows.
    """
    return replace(card, **_of_process(trains=True), data=_of_fit(recipe, fit)["data"])


def check_comparable(study: optuna.Study, now: Card, fit: Given) -> None:
    """Check that new trials compare with those of a study; warn of what makes that hard.

    Data that functions load in other processes, and data whose rows are drawn at random, is not
    compared.

    Args:
        study: The study that is about to be searched.
        now: The card of its new trials.
        fit: The arguments of Model.fit of these.

    Raises:
        StudyMismatchError: The trials of the study were measured on other validation data, or their
            values are means of other trainings.
    """
    trials = study.get_trials(deepcopy=False)
    cards, latest = Card.all_of(study), StudyRecord(study).card
    without_result = TrialState.FAIL, TrialState.WAITING
    records = [TrialRecord(one) for one in trials if one.state not in without_result]
    # Only our workers measure on the data of a search. A trial that another process has just begun
    # has no card yet.
    keys = [one.card or latest or "" for one in records if one.worker is not None]
    before = {key: cards.get(key, Card()) for key in keys}
    for card in before.values():
        _check_same(study, card, now)
    if not all(TrialRecord(trial).has_no_result for trial in trials):
        warn_if_builder_changed(study, now, fit)
    if keys and (changes := before[keys[-1]].told_changes(now)):
        _check.warn(
            f"Not as in the trials that study {study.study_name!r} has: {'; '.join(changes)}. "
            f"Their values may not compare with those of new trials. If so, pass {_ANEW}."
        )


def warn_if_builder_changed(study: optuna.Study, now: Card, fit: Given) -> None:
    """Warn if the latest trials of a study came from other code than this builder's."""
    if changed := _digest.changed(Card.latest(study).code, now.code):
        also = " or of the data's functions" * bool(fit.functions)
        _check.warn(
            f"The code of build_model{also} has changed since the latest search of study "
            f"{study.study_name!r} ({', '.join(changed)}): its earlier trials may not compare with "
            f"new ones. If so, pass {_ANEW}."
        )


def _check_same(study: optuna.Study, before: Card, now: Card) -> None:
    """Refuse other trainings or validation data, with which values do not compare."""
    found, ours = ({name: one.arguments.get(name) for name in _AVERAGED} for one in (before, now))
    if before.arguments and found != ours:
        had, have = (
            ", ".join(f"{name}={value}" for name, value in arguments.items())
            for arguments in (found, ours)
        )
        raise StudyMismatchError(
            f"Study {study.study_name!r} exists, and its values are means of other trainings: with "
            f"{had}, not with {have}. Pass the same arguments (for cv= also the same data and "
            f"seed=, or a splitter with a random_state=), {_ANEW}."
        )
    if not before.has_like(now, "validation"):
        raise StudyMismatchError(
            f"Study {study.study_name!r} exists, and its trials were measured on other validation "
            "data, so their values do not compare with new ones. If train_test_split drew these "
            f"rows, pass it random_state=. Otherwise pass the same validation data, {_ANEW}."
        )


def _of_process(*, trains: bool) -> dict[str, Any]:
    """Return what a training depends on in this process.

    A process that does not train looks for no devices, since JAX takes their memory for that.
    """
    backend = keras.backend.backend()
    # A distribution may have another name than its module, as that of keras-nightly has.
    modules = {name: sys.modules[name] for name in (*_PACKAGES, backend)}
    versions = {name: str(getattr(one, "__version__", "unknown")) for name, one in modules.items()}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "backend": backend,
        "platform": platform.platform(),
        "devices": [f"{cores()} cores of {platform.machine()}", *accelerators()] if trains else [],
    }


def _of_fit(recipe: Recipe, fit: Given) -> dict[str, Any]:
    """Return the arguments of search(), digests of those that JSON cannot hold, and the data."""
    others = {name: _stored(name, value) for name, value in sorted(fit.others.items())}
    digests = {name: key for name, (_, key) in others.items() if key is not None}
    if is_loader(fit.x) and "sample_weight" not in fit.others:  # the function may return weights
        digests["sample_weight"] = Card.UNKNOWN
    # A callback is told by the name of its class, or of the function that makes it, alone.
    is_made = keras.callbacks.Callback
    makers = (type(one) if isinstance(one, is_made) else one for one in recipe.callbacks)
    told = {
        "arguments": {
            "epochs": fit.epochs,
            "validation_split": fit.validation_split,
            "steps_per_execution": fit.steps_per_execution,
            "executions_per_trial": recipe.executions,
            "cv": f"{len(fit.folds)} folds ({digest(fit.folds)})" if fit.folds else None,
            "callbacks": [str(getattr(one, "__name__", "a function")) for one in makers],
            **{name: one for name, (one, _) in others.items()},
        },
        "digests": digests,
        "data": {name: describe(one) for name, one in fit.data.items() if one is not None},
    }
    return dict(_plain(told))


def _stored(name: str, value: Any) -> tuple[Any, str | None]:
    """Return an argument as JSON holds it; if that only describes it, its digest too."""
    with suppress(TypeError, ValueError):  # JSON does not hold it
        plain = json.loads(json.dumps(Card.by_class(name, value), default=np.generic.item))
        if Card.by_class(name, plain) == value and len(str(plain)) < _LONGEST:
            return plain, None
    return describe(value), digest(value)


def _plain(value: Any) -> Any:
    """Return a value in a form that JSON can store, in which other objects are described."""
    text = json.dumps(
        value, default=lambda one: one.item() if isinstance(one, np.generic) else describe(one)
    )
    return json.loads(text)
