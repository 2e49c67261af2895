"""Configurations that are laid out to be tried: each once, however many processes lay it out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._study import TrialRecord, retry

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
    retry.lay_out(study, params, {TrialRecord.point: {"order": order, "key": key}})


def order(trial: FrozenTrial) -> int:
    """Return a WAITING trial's place in line: enqueued trials and retries go first."""
    record = TrialRecord(trial)
    if record.point is not None:
        return int(record.point["order"])
    return ENQUEUED if record.fixed_params else FREE


def doubles(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that have the key of an earlier one, which alone counts.

    Two processes may lay out the same point at once. Since Optuna numbers trials in the order in
    which it adds them, all processes agree on which is the earlier one.

    Args:
        trials: Trials of a study, in the order of their numbers.
    """
    points = [(one.number, TrialRecord(one).point) for one in trials]
    laid_out = [(number, point["key"]) for number, point in points if point is not None]
    firsts = {key: number for number, key in reversed(laid_out)}
    return {number for number, _ in laid_out} - set(firsts.values())


def texts_of(trial: FrozenTrial) -> set[str]:
    """Return as texts the parameters of a trial, and those with which it was laid out."""
    record = TrialRecord(trial)
    return {_as_text(record.fixed_params or {}), _as_text(record.params)}


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
