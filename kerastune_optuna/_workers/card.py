"""The card of a search: everything that must be the same to reproduce the result of a trial."""

from __future__ import annotations

import json
import platform
import sys
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import optuna

from kerastune_optuna._backend import accelerators, cores, keras_settings
from kerastune_optuna._data import describe, key_of_folds
from kerastune_optuna._digest import digest
from kerastune_optuna._source import fingerprint
from kerastune_optuna._study import StudyRecord, TrialRecord
from kerastune_optuna._trial import Recipe

_PACKAGES = ("kerastune_optuna", "keras", "optuna", "numpy")
_DIGESTS = "digests"  # of arguments that the card only describes
_UNCOMPARED = {"cv", "executions_per_trial", "steps_per_execution", "validation_split"}
_WIDEST = 100  # characters of an argument in a warning
_LONGEST = 4000  # characters of an argument, since MySQL limits the size of an attribute


@dataclass(frozen=True)
class Card:
    """Tell what the search of a trial was.

    Args:
        parts: What the card says; nothing for a trial that has none.
    """

    parts: Mapping[str, Any]

    @classmethod
    def of(cls, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> Card:
        """Return the card of a trial."""
        return cls(study.user_attrs.get(f"{StudyRecord.CARD}{TrialRecord(trial).card}", {}))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of Model.fit that the search got, as far as the card has them."""
        if _DIGESTS not in self.parts:  # a card of an earlier version cannot tell
            return {}
        left_out = {*self.parts[_DIGESTS], *_UNCOMPARED}
        told = self.parts["arguments"].items()
        return {name: _by_class(name, value) for name, value in told if name not in left_out}

    def changes(self, recipe: Recipe) -> list[str]:
        """Return the arguments that change a training and differ from those of the search."""
        if _DIGESTS not in self.parts:
            return []
        now = _of_arguments(recipe)
        unknown = {"sample_weight"} if recipe.fit.may_get_weights else set()
        found = []
        names = {*self.parts["arguments"], *now["arguments"]} - _UNCOMPARED - unknown
        for name in sorted(names):
            (was, key), (other, its) = (
                (one["arguments"].get(name), one[_DIGESTS].get(name)) for one in (self.parts, now)
            )
            is_default = name == "batch_size" and (was or 32) == (other or 32)  # as in Keras
            if was != other and not is_default:
                both = (
                    textwrap.shorten(str(one), _WIDEST, placeholder="...") for one in (was, other)
                )
                found.append(f"{name} was {' and is '.join(both)}")
            elif key != its:
                found.append(f"{name} has other values")
        return found

    def is_of_other_builder(self, build_model: Callable[..., Any]) -> bool:
        """Whether the trial certainly came from other code than this builder's."""
        # Each version of Python compiles the same code to other instructions.
        is_known = self.parts.get("versions", {}).get("python") == platform.python_version()
        return bool(is_known and self.parts["builder"] != fingerprint(build_model))


def write(study: optuna.Study, recipe: Recipe, known: Mapping[str, Any]) -> str:
    """Write the card of a search that runs in this process, unless the study has it already.

    Args:
        study: The study that is searched, with its sampler and pruner.
        recipe: What its trials share, with the data opened.
        known: Entries that only the process that began the search knows.

    Returns:
        The key of the card, which the trials record.
    """
    data = {name: describe(one) for name, one in recipe.fit.data.items() if one is not None}
    searched = {
        "name": study.study_name,
        "objective": recipe.objectives.aim,
        **recipe.constraints.described(),
        "sampler": type(study.sampler).__name__,
        "pruner": type(study.pruner).__name__,
        "trials_known": len(recipe.known),
    }
    card = {**known, "seed": recipe.seed, **_of_process(), "study": searched}
    card = _plain({**card, **_of_arguments(recipe), "data": data})
    key = digest(json.dumps(card, sort_keys=True))
    if (name := f"{StudyRecord.CARD}{key}") not in study.user_attrs:
        study.set_user_attr(name, card)
    return key


def _of_process() -> dict[str, Any]:
    """Return what a training depends on in this process."""
    backend, floatx, data_format, policy = keras_settings()
    # A distribution may have another name than its module, as that of keras-nightly has.
    modules = {name: sys.modules[name] for name in (*_PACKAGES, backend)}
    versions = {name: str(getattr(one, "__version__", "unknown")) for name, one in modules.items()}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "backend": backend,
        "settings": {"floatx": floatx, "image_data_format": data_format, "dtype_policy": policy},
        "platform": platform.platform(),
        "devices": [f"{cores()} cores of {platform.machine()}", *accelerators()],
    }


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
    try:
        plain = _plain(value)
    except TypeError:  # raised for keys that JSON cannot store
        plain = describe(value)
    return plain if len(str(plain)) < _LONGEST else describe(value), digest(value)


def _by_class(name: str, value: Any) -> Any:
    """Return the keys of class_weight as numbers, which they are not in JSON."""
    if name == "class_weight" and isinstance(value, Mapping):
        return {int(key): weight for key, weight in value.items()}
    return value


def _name(callback: Any) -> str:
    """Return the name of a callback or of a function that makes one, without its contents."""
    is_made = isinstance(callback, keras.callbacks.Callback)
    return str(getattr(type(callback) if is_made else callback, "__name__", "a function"))


def _plain(value: Any) -> Any:
    """Return a value in a form that JSON can store, in which other objects are described."""

    def told(one: Any) -> Any:
        return one.item() if isinstance(one, np.generic) else describe(one)

    return json.loads(json.dumps(value, default=told))
