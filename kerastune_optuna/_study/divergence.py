"""Trials without a result because they failed or diverged, and the error if all trials did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check
from kerastune_optuna._exceptions import TooManyFailuresError
from kerastune_optuna._study.record import TrialRecord

MOST = 10  # trials that fail in a row before a search ends, if the user sets no other number
_SURE_AFTER = 2  # trials that fail or diverge before a search ends, if the data has NaN or infinity


def came_to_nothing(trial: FrozenTrial) -> bool:
    """Whether a trial failed, or diverged in its first epoch; after more epochs, it has values."""
    record = TrialRecord(trial)
    is_early = record.diverged is not None and (record.epochs_run or 0) <= 1
    return trial.state is TrialState.FAIL or is_early


def is_any_to_succeed(trials: Sequence[FrozenTrial], ended: FrozenTrial) -> bool:
    """Whether a running trial has reported a finite value, or began before another trial ended.

    A trial that fails does so fast, so it is worth waiting for the trials that ran beside the one
    that ended, but not for later ones: if all trials fail and there are several workers, some trial
    is always running. The clocks of machines differ, so we compare numbers: with n running trials,
    a trial whose number is higher by n or more began later.

    Args:
        trials: Trials, some of which may be running.
        ended: The trial that ended.
    """
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    first_later = ended.number + len(running)
    return any(
        any(map(math.isfinite, trial.intermediate_values.values()))
        if trial.intermediate_values
        else trial.number < first_later
        for trial in running
    )


def check(
    trials: Sequence[FrozenTrial], most: int | None, others: Sequence[FrozenTrial] = ()
) -> None:
    """Raise if enough trials ended, and all of them failed or diverged.

    Args:
        trials: The trials that ended because of their configurations, ordered by number.
        most: How many are enough; None for ten, or for two if the data is at fault.
        others: Trials, some of which may be running and could still succeed. Default none.

    Raises:
        TooManyFailuresError: Says how the last one ended, and what to fix.
    """
    is_data = all(TrialRecord(one).not_finite for one in trials)
    enough = most or (_SURE_AFTER if is_data else MOST)
    if len(trials) < enough or not all(map(came_to_nothing, trials)):
        return
    if is_any_to_succeed(others, trials[enough - 1]):
        return
    what = "the data" if is_data else "build_model or its ranges, as of the learning rate"
    raise TooManyFailuresError(
        f"{_all(trials)} with: {TrialRecord(trials[-1]).why}. Fix {what}, and call search() "
        "again; with overwrite=True, it begins anew."
    )


def check_trained(trials: Sequence[FrozenTrial]) -> None:
    """Raise if trials ended by themselves, but all of them before their training.

    Raises:
        TooManyFailuresError: Says how the last one ended.
    """
    if trials and not any(map(has_begun, trials)):
        raise TooManyFailuresError(
            f"No model was trained: {_check.count(len(trials), 'trial')} ended before that, "
            f"{_last(trials)}. Fix the ranges of build_model or the limits, and call search() "
            "again, with a larger n_trials= or timeout= if needed."
        )


def has_begun(trial: FrozenTrial) -> bool:
    """Whether a trial was more than built: no constraint and no builder ended it before that."""
    record = TrialRecord(trial)
    may_be_early = trial.state is TrialState.PRUNED or record.forbidden_by is not None
    return not (may_be_early and record.epochs_run == 0) or record.repeat_of is not None


def told_of_others(trials: Iterable[FrozenTrial]) -> str:
    """Return a sentence about the trials that ended without being COMPLETE; "" if none did."""
    others = [one for one in trials if one.state in (TrialState.PRUNED, TrialState.FAIL)]
    if not others:
        return ""
    return f"{_check.count(len(others), 'trial')} ended as PRUNED or FAIL, {_last(others)}."


def _last(trials: Sequence[FrozenTrial]) -> str:
    why = TrialRecord(trials[-1]).why.rstrip(".")
    return f"the last one (trial {trials[-1].number}) with: {why}"


def _all(trials: Sequence[FrozenTrial]) -> str:
    number = trials[-1].number
    if len(trials) == 1:
        return f"The only trial (trial {number}) failed or diverged"
    count = _check.count(len(trials), "trial")
    return f"All {count} failed or diverged, the last one (trial {number})"
