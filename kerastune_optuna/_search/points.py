"""Configurations that are laid out to be tried: each once, however many processes lay it out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._study import lay_out, params_of, record

_PLAIN = (str, int, float, bool, type(None))
# The order in which trials are taken: last those whose parameters are left to a sampler.
ENQUEUED, OF_GRID, FREE = range(3)


def lay_out_point(study: optuna.Study, params: Mapping[str, Any], order: int, key: str) -> None:
    """Add a WAITING trial with these parameters.

    Args:
        study: Where to add it.
        params: What no sampler may choose.
        order: ENQUEUED or OF_GRID.
        key: Of all trials with one key, only the first counts.
    """
    lay_out(study, params, {record.POINT: {"order": order, "key": key}})


def order(trial: FrozenTrial) -> int:
    """Return a WAITING trial's place in line: enqueued trials and retries go first."""
    attrs = trial.system_attrs
    if record.POINT in attrs:
        return int(attrs[record.POINT]["order"])
    return ENQUEUED if attrs.get(_optuna.FIXED_PARAMS) else FREE


def doubles(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that have the key of an earlier one, which alone counts.

    Two processes may lay out the same point at once. Since Optuna numbers trials in the order in
    which it adds them, all processes agree on which is the earlier one.

    Args:
        trials: Trials of a study, in the order of their numbers.
    """
    laid_out = [trial for trial in trials if record.POINT in trial.system_attrs]
    firsts = {one.system_attrs[record.POINT]["key"]: one.number for one in reversed(laid_out)}
    return {trial.number for trial in laid_out} - set(firsts.values())


def texts_of(trial: FrozenTrial) -> set[str]:
    """Return as texts the parameters of a trial, and those with which it was laid out."""
    laid_out = trial.system_attrs.get(_optuna.FIXED_PARAMS, {})
    return {_as_text(laid_out), _as_text(params_of(trial))}


def text(params: Mapping[str, Any]) -> str:
    """Return parameters as a text, by which configurations compare.

    Raises:
        ArgumentError: A value has a type that databases do not give back as it was.
    """
    for name, value in params.items():
        if not isinstance(value, _PLAIN):
            raise ArgumentError(
                f"{name}={value!r} is of type {type(value).__name__}, which a study cannot hold "
                "for later. Let suggest_categorical choose among names, and look the object up."
            )
    return _as_text(params)


def _as_text(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True, default=repr)
