"""The card of a search: everything that must be the same to reproduce the result of a trial."""

from __future__ import annotations

import json
import platform
import sys
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import keras
import numpy as np
import optuna

from kerastune_optuna import _check
from kerastune_optuna._backend import accelerators, cores, keras_settings
from kerastune_optuna._data import describe, key_of_folds
from kerastune_optuna._digest import digest
from kerastune_optuna._source import fingerprint
from kerastune_optuna._study import StudyRecord, TrialRecord
from kerastune_optuna._trial import Recipe, has_own_code

Card: TypeAlias = dict[str, Any]

_PACKAGES = ("kerastune_optuna", "keras", "optuna", "numpy")
_DIGESTS = "digests"  # of arguments that the card only describes
_UNCOMPARED = {"cv", "executions_per_trial", "steps_per_execution", "validation_split"}
_WIDEST = 100  # characters of an argument in a warning
_LONGEST = 4000  # characters of an argument, since MySQL limits the size of an attribute


def write(study: optuna.Study, recipe: Recipe, known: Mapping[str, Any]) -> str:
    """Write the card of a search that runs in this process, unless the study has it already.

    Args:
        study: The study that is searched, with its sampler and pruner.
        recipe: What its trials share, with the data opened.
        known: Entries that only the process that began the search knows.

    Returns:
        The key of the card, which the trials record.
    """
    card = describe_search(study, recipe, known)
    key = digest(json.dumps(card, sort_keys=True))
    if (name := f"{StudyRecord.CARD}{key}") not in study.user_attrs:
        study.set_user_attr(name, card)
    return key


def read(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> Card | None:
    """Return the card of a trial; None if it has none."""
    return study.user_attrs.get(f"{StudyRecord.CARD}{TrialRecord(trial).card}")


def arguments(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """Return the arguments of Model.fit that a trial's search got, as far as its card has them."""
    card = read(study, trial) or {}
    if _DIGESTS not in card:  # a card of an earlier version cannot tell
        return {}
    left_out = {*card[_DIGESTS], *_UNCOMPARED}
    told = card["arguments"].items()
    return {name: _by_class(name, one) for name, one in told if name not in left_out}


def changes(study: optuna.Study, trial: optuna.trial.FrozenTrial, recipe: Recipe) -> list[str]:
    """Return the arguments that change a training and differ from those of a trial's search."""
    before = read(study, trial) or {}
    if _DIGESTS not in before:
        return []
    now = _of_arguments(recipe)
    unknown = {"sample_weight"} if recipe.fit.may_get_weights else set()
    found = []
    for name in sorted({*before["arguments"], *now["arguments"]} - _UNCOMPARED - unknown):
        (was, key), (other, its) = (
            (one["arguments"].get(name), one[_DIGESTS].get(name)) for one in (before, now)
        )
        if _as_read(name, was) != _as_read(name, other):
            told = (textwrap.shorten(str(one), _WIDEST, placeholder="...") for one in (was, other))
            found.append(f"{name} was {' and is '.join(told)}")
        elif key != its:
            found.append(f"{name} has other values")
    return found


def _as_read(name: str, value: Any) -> Any:
    """Return an argument as Keras reads it, whose size of batches is 32 for None."""
    return 32 if name == "batch_size" and value is None else value


def is_of_other_builder(
    study: optuna.Study, trial: optuna.trial.FrozenTrial, build_model: Callable[..., Any]
) -> bool:
    """Whether a trial certainly came from other code than this builder's; False if unknown."""
    card = read(study, trial) or {}
    # Each version of Python compiles the same code to other instructions.
    is_known = card.get("versions", {}).get("python") == platform.python_version()
    return bool(is_known and card["builder"] != fingerprint(build_model))


def warn_where_code_decides(
    study: optuna.Study,
    trial: optuna.trial.FrozenTrial,
    build_model: Callable[..., Any],
    model: keras.Model,
) -> None:
    """Warn if a builder's code has changed, and the settings of its model may not show it."""
    if has_own_code(model) and is_of_other_builder(study, trial, build_model):
        _check.warn(
            f"The code of build_model has changed since trial {trial.number} was trained, and its "
            "model has layers whose settings do not show what they compute. If that has changed, "
            "the model is wrong although the trial's value is right: restore that search's builder."
        )


def describe_search(study: optuna.Study, recipe: Recipe, known: Mapping[str, Any]) -> Card:
    """Return the card of a search, in a form that JSON can store."""
    backend, floatx, data_format, policy = keras_settings()
    card: Card = {
        **known,
        "seed": recipe.seed,
        "versions": _versions(),
        "backend": backend,
        "settings": {"floatx": floatx, "image_data_format": data_format, "dtype_policy": policy},
        "platform": platform.platform(),
        "devices": [f"{cores()} cores of {platform.machine()}", *accelerators()],
        "study": {
            "name": study.study_name,
            "objective": recipe.objectives.aim,
            **recipe.constraints.described(),
            "sampler": type(study.sampler).__name__,
            "pruner": type(study.pruner).__name__,
            "trials_known": len(recipe.known),
        },
        **_of_arguments(recipe),
        "data": {name: describe(one) for name, one in recipe.fit.data.items() if one is not None},
    }
    return dict(_plain(card))


def _of_arguments(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Return the arguments of search() besides the data, and digests of those only described."""
    fit = recipe.fit
    others = {name: _stored(name, value) for name, value in sorted(fit.others.items())}
    return {
        "arguments": {
            "epochs": fit.epochs,
            "validation_split": fit.validation_split,
            "steps_per_execution": fit.steps_per_execution,
            "executions_per_trial": recipe.executions,
            "cv": key_of_folds(fit.folds),
            "callbacks": [_name(callback) for callback in recipe.callbacks],
            **{name: one for name, (one, _) in others.items()},
        },
        _DIGESTS: {name: key for name, (_, key) in others.items() if key is not None},
    }


def _stored(name: str, value: Any) -> tuple[Any, str | None]:
    """Return an argument as JSON holds it; if that only describes it, its digest too."""
    with suppress(TypeError, ValueError):  # JSON does not hold it
        plain = json.loads(json.dumps(_by_class(name, value), default=np.generic.item))
        if _by_class(name, plain) == value and len(str(plain)) < _LONGEST:
            return plain, None
    return _shortened(value), digest(value)


def _by_class(name: str, value: Any) -> Any:
    """Return the keys of class_weight as numbers, which they are not in JSON."""
    if name == "class_weight" and isinstance(value, Mapping):
        return {int(key): weight for key, weight in value.items()}
    return value


def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        # A distribution may have another name than its module, as that of keras-nightly has.
        **{
            name: str(getattr(sys.modules[name], "__version__", "unknown"))
            for name in (*_PACKAGES, backend)
        },
    }


def _name(callback: Any) -> str:
    """Return the name of a callback or of a function that makes one, without its contents."""
    is_made = isinstance(callback, keras.callbacks.Callback)
    return str(getattr(type(callback) if is_made else callback, "__name__", "a function"))


def _shortened(value: Any) -> Any:
    """Return an argument in a form that JSON can store; a description of it if it is too long."""
    try:
        plain = _plain(value)
    except TypeError:  # raised for keys that JSON cannot store
        return describe(value)
    return plain if len(str(plain)) < _LONGEST else describe(value)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_told))


def _told(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else describe(value)
