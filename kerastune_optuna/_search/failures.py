"""Failures that end a search: each condition is checked when a trial fails."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check
from kerastune_optuna._exceptions import TooManyFailuresError
from kerastune_optuna._study import Ending, TrialRecord

MOST = 10  # trials that fail in a row before a search ends, if the user sets no other number
_SURE_AFTER = 2  # trials that fail or diverge before a search ends, if the data has NaN or infinity


def check_in_a_row(
    most: int | None, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]
) -> None:
    """Raise if the last trials of a search failed.

    Args:
        most: How many may; None for ten, or for two if all trials failed and the data has NaN.
        own: The trials of the search.
        trials: All trials of its study.

    Raises:
        TooManyFailuresError: Says how the last one ended.
    """
    # Only these endings show whether the search works.
    records = [one for one in map(TrialRecord, own) if one.ending.works is not None]
    is_data = all(one.not_finite for one in records)
    most = most or (_SURE_AFTER if is_data else MOST)
    last = records[-most:]
    if len(last) < most or any(one.ending.works for one in last):
        return
    none_works = not any(one.ending.works for one in records)
    if none_works and _is_any_to_succeed(trials, records[most - 1].of):
        return
    many = f"{most} trials failed in a row, the last one" if most > 1 else "The trial failed"
    raise TooManyFailuresError(
        f"{many} (trial {last[-1].of.number}) with: {last[-1].why.rstrip('.')}. Fix "
        f"{_what(is_data)}, and call search() again. max_failed_trials= allows more failures."
    )


def check_causes(own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> None:
    """Raise if two trials failed with the same error, and none succeeded or still may.

    Args:
        own: The trials of the search.
        trials: All trials of its study.

    Raises:
        TooManyFailuresError: Says what the error was.
    """
    if any(TrialRecord(one).ending.works for one in trials):
        return
    by_cause: dict[str | None, list[TrialRecord]] = defaultdict(list)
    for record in map(TrialRecord, own):
        by_cause[record.sameness].append(record)
    by_cause.pop(None, None)
    for first, *more in by_cause.values():
        if more and not _is_any_to_succeed(trials, more[0].of):
            raise TooManyFailuresError(
                f"{len(more) + 1} trials failed with the same error before any succeeded: "
                f"{first.why.rstrip('.')}. Fix build_model, the data or the arguments, and make "
                "the same call again. If other configurations work, enqueue() one of them before a "
                "search, or pass max_failed_trials= to allow more failures."
            )


def check_study(study: optuna.Study) -> None:
    """Raise if trials of the study ended, but none was trained, or all failed or diverged.

    Raises:
        TooManyFailuresError: Says how the last one ended.
    """
    records = list(map(TrialRecord, study.get_trials(deepcopy=False)))
    failed = [one for one in records if one.ending.works is False]
    ended = failed or [one for one in records if one.ending is Ending.FORBIDDEN]
    if not ended or any(one.ending.works for one in records):
        return
    what = "the ranges of build_model or the limits"
    if failed:
        what = _what(all(one.not_finite for one in failed))
    raise TooManyFailuresError(
        f"No trial has a result: {_check.count(len(ended), 'trial')} failed, diverged or broke a "
        f"limit, the last one (trial {ended[-1].of.number}) with: {ended[-1].why.rstrip('.')}. Fix "
        f"{what}, and call search() again, with a larger n_trials= or timeout= if needed; with "
        "overwrite=True, it begins anew."
    )


def _what(is_data: bool) -> str:
    """Return what a user should fix."""
    return "the data" if is_data else "build_model or its ranges, as of the learning rate"


def _is_any_to_succeed(trials: Sequence[FrozenTrial], ended: FrozenTrial) -> bool:
    """Whether a running trial has reported a finite value, or began before another trial ended.

    A trial that fails does so fast, so it is worth waiting for the trials that ran beside the one
    that ended, but not for later ones: if all trials fail and there are several workers, some trial
    is always running. The clocks of machines differ, so we compare places among the trials that
    began: with n running trials, one that comes n places later or more began later.
    """
    begun = [trial for trial in trials if TrialRecord(trial).has_begun]
    running = [trial for trial in begun if trial.state is TrialState.RUNNING]
    rest = [trial.number for trial in begun if trial.number > ended.number]
    beside = rest[: max(0, len(running) - 1)]
    return any(
        any(map(math.isfinite, trial.intermediate_values.values()))
        if trial.intermediate_values
        else trial.number < ended.number or trial.number in beside
        for trial in running
    )
