"""Trials that came to nothing, since they failed or diverged: an error where all did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check
from kerastune_optuna._exceptions import TooManyFailuresError
from kerastune_optuna._study.record import TrialRecord

MOST = 10  # trials that may fail in a row, where the user says nothing else
_SURE_AFTER = 2  # trials that came to nothing, where the data holds NaN or infinity


def came_to_nothing(trial: FrozenTrial) -> bool:
    """Whether a trial failed, or diverged in its first epoch: with more epochs it had values."""
    record = TrialRecord(trial)
    is_early = record.diverged is not None and (record.epochs_run or 0) <= 1
    return trial.state is TrialState.FAIL or is_early


def is_any_to_succeed(trials: Sequence[FrozenTrial], ended: FrozenTrial) -> bool:
    """Whether a trial runs that reported a finite value, or that began before another ended.

    A trial that fails does so fast. A trial that began later is not waited for: where all trials
    fail and there are several workers, one of them always runs. The clocks of machines
    differ, so numbers tell this: a trial whose number is higher by as many as trials run began
    later.

    Args:
        trials: Trials, of which some may run.
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
    """Raise where enough trials ended, and all of them failed or diverged.

    Args:
        trials: The trials that ended because of their configurations, by their numbers.
        most: How many are enough; None for ten, or two where the data is at fault.
        others: Trials of which one may still run and succeed. Default none.

    Raises:
        TooManyFailuresError: Says how the last one ended, and what to mend.
    """
    is_data = all(TrialRecord(one).not_finite for one in trials)
    enough = most or (_SURE_AFTER if is_data else MOST)
    if len(trials) < enough or not all(map(came_to_nothing, trials)):
        return
    if is_any_to_succeed(others, trials[enough - 1]):
        return
    what = "the data" if is_data else "build_model or its ranges, as of the learning rate"
    raise TooManyFailuresError(
        f"{_all(trials)} with: {TrialRecord(trials[-1]).why}. Mend {what}, and call search() "
        "again; with overwrite=True it begins anew."
    )


def check_trained(trials: Sequence[FrozenTrial]) -> None:
    """Raise where trials ended by themselves, and all of them before their training.

    Raises:
        TooManyFailuresError: Says how the last one ended.
    """
    if trials and not any(map(has_begun, trials)):
        raise TooManyFailuresError(
            f"No model was trained: {_check.count(len(trials), 'trial')} ended before that, "
            f"{_last(trials)}. Mend the ranges of build_model or its limits; search() then "
            "goes on while n_trials= and timeout= allow it."
        )


def has_begun(trial: FrozenTrial) -> bool:
    """Whether a trial was more than built: it broke no constraint, and its builder let it train."""
    is_early = trial.state is TrialState.PRUNED and TrialRecord(trial).epochs_run == 0
    return not is_early or TrialRecord(trial).repeat_of is not None


def told_of_others(trials: Iterable[FrozenTrial]) -> str:
    """Return a sentence on the trials that ended without being COMPLETE; "" where none did."""
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
