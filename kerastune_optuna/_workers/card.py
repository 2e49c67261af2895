"""The card of a search: all that must be the same for a trial to come to its result again."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import optuna

from kerastune_optuna import _check
from kerastune_optuna._backend import THREADS, accelerators, cores, keras_settings
from kerastune_optuna._data import describe, key_of_folds
from kerastune_optuna._source import digest, fingerprint
from kerastune_optuna._storage import url
from kerastune_optuna._study import StudyRecord, TrialRecord
from kerastune_optuna._trial import Recipe, has_own_code

Card: TypeAlias = dict[str, Any]

_PACKAGES = ("kerastune_optuna", "keras", "optuna", "numpy")
# The variables by which TensorFlow splits and orders sums, and Python orders sets.
_VARIABLES = (*THREADS, "TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS", "PYTHONHASHSEED")
_PLAIN = (str, int, float, bool, type(None))
_LONGEST = 100  # entries of an argument that are listed
_LONGEST_TEXT = 2000  # characters: a command may name thousands of files


def write(study: optuna.Study, recipe: Recipe, known: Mapping[str, Any]) -> str:
    """Write the card of a search that runs in this process, unless the study has it.

    Args:
        study: The study that is searched, with its sampler and pruner.
        recipe: What its trials share, with the data opened.
        known: Entries that only the process that began the search knows, like its command.

    Returns:
        The key of the card, for the trials to name.
    """
    card = describe_search(study, recipe, known)
    key = digest(json.dumps(card, sort_keys=True).encode())
    if (name := f"{StudyRecord.CARD}{key}") not in study.user_attrs:
        study.set_user_attr(name, card)
    return key


def read(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> Card | None:
    """Return the card of a trial; None where it has none."""
    return study.user_attrs.get(f"{StudyRecord.CARD}{TrialRecord(trial).card}")


def is_of_other_builder(
    study: optuna.Study, trial: optuna.trial.FrozenTrial, build_model: Callable[..., Any]
) -> bool:
    """Whether a trial surely came from other code than this builder's; False where unknown."""
    then, now = (read(study, trial) or {}).get("builder"), fingerprint(build_model)
    return None not in (then, now) and then != now


def warn_where_code_decides(
    study: optuna.Study,
    trial: optuna.trial.FrozenTrial,
    build_model: Callable[..., Any],
    model: keras.Model,
) -> None:
    """Warn of a builder whose code has changed, where a model's settings do not show the change."""
    if has_own_code(model) and is_of_other_builder(study, trial, build_model):
        _check.warn(
            f"The code of build_model has changed since trial {trial.number} was trained, and its "
            "model has layers whose settings do not tell what they compute. Where that has "
            "changed, the model is wrong and the trial's value right: restore the builder of that "
            "search."
        )


def describe_search(study: optuna.Study, recipe: Recipe, known: Mapping[str, Any]) -> Card:
    """Return the card of a search, in a form that JSON holds."""
    backend, floatx, data_format, policy = keras_settings()
    card = {
        **known,
        "seed": recipe.seed,
        "versions": _versions(),
        "backend": backend,
        "settings": {"floatx": floatx, "image_data_format": data_format, "dtype_policy": policy},
        "platform": platform.platform(),
        "devices": [f"{cores()} cores of {_processor()}", *accelerators()],
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "study": {
            "name": study.study_name,
            "objective": recipe.objectives.aim,
            **recipe.constraints.described(),
            "sampler": type(study.sampler).__name__,
            "pruner": type(study.pruner).__name__,
            **({"trials_known": len(recipe.known)} if recipe.known else {}),
        },
        "arguments": _arguments(recipe),
        "data": {name: describe(one) for name, one in recipe.fit.data.items() if one is not None},
    }
    return {key: _plain(value) for key, value in card.items()}


def _arguments(recipe: Recipe) -> dict[str, Any]:
    """Return what search() was called with, besides the data."""
    fit = recipe.fit
    return {
        "epochs": fit.epochs,
        "validation_split": fit.validation_split,
        "steps_per_execution": fit.steps_per_execution,
        "executions_per_trial": recipe.executions,
        **({"cv": key_of_folds(fit.folds)} if fit.folds else {}),
        "callbacks": [_name(callback) for callback in recipe.callbacks],
        **dict(sorted(fit.others.items())),
    }


def command() -> str:
    """Return the command that began this process, without passwords."""
    if "ipykernel" in sys.modules:
        return "a notebook"
    return shlex.join(argument[:200] for argument in url.without_secrets(sys.orig_argv))


def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        backend: str(getattr(sys.modules[backend], "__version__", "unknown")),
    }


def _processor() -> str:
    """Return the name of the processor, where the system tells it."""
    if sys.platform == "linux":
        told = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        if told is not None:
            return told[1]
    return platform.processor() or platform.machine()


def _name(callback: Any) -> str:
    """Return the name of a callback or of a function that makes one, and nothing of its content."""
    is_made = isinstance(callback, keras.callbacks.Callback)
    return str(getattr(type(callback) if is_made else callback, "__name__", "a function"))


def _plain(value: Any) -> Any:
    """Return a value in a form that JSON holds, and that stays short however long the value is."""
    if isinstance(value, Mapping | list | tuple) and len(value) > _LONGEST:
        return describe(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONGEST_TEXT]} …"
    return value if isinstance(value, _PLAIN) else describe(value)
