"""Run again a trial that was cut off, with the same parameters, seed and backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._study.ending import Ending
from kerastune_optuna._study.liveness import fail, machine
from kerastune_optuna._study.record import TrialRecord

DIED, INTERRUPTED = "its worker died", "interrupted"  # texts for people, as all in stop_reason
_MOST_DEATHS = 3  # a trial that fills the memory would kill one worker after another

# The user attrs that a retry copies from its trial, besides the system attr of its last backup.
_SAME_OF_USER = (TrialRecord.seed, TrialRecord.confirms, TrialRecord.flops)


def lay_out(
    study: optuna.Study,
    params: Mapping[str, Any] | None = None,
    system_attrs: Mapping[str, Any] | None = None,
    user_attrs: Mapping[str, Any] | None = None,
) -> int:
    """Add a WAITING trial that a worker may take, and return its id.

    Args:
        study: Where to add it.
        params: Values that no sampler may choose. If there are none, no empty dict is written,
            since GridSampler would not choose parameters for a trial that has one.
        system_attrs: More system attrs of the trial.
        user_attrs: User attrs of the trial.
    """
    fixed = {_optuna.FIXED_PARAMS: dict(params)} if params else {}
    slot = optuna.trial.create_trial(
        state=TrialState.WAITING,
        system_attrs={TrialRecord.slot: machine(), **fixed, **(system_attrs or {})},
        user_attrs=dict(user_attrs or {}),
    )
    return _optuna.storage_of(study).create_new_trial(_optuna.id_of(study), slot)


def fail_and_retry(study: optuna.Study, trial: FrozenTrial, *, has_died: bool) -> bool:
    """Set a trial that was cut off to FAIL, and lay it out again.

    The retry is laid out before the trial is failed: if this process dies in between, it leaves a
    RUNNING trial, which the next process finds. No worker may take the retry until the trial is
    FAIL, and none may take it at all if the trial ended by itself in that moment. If several
    processes lay out a retry at once, the first retry counts.

    Args:
        study: The study of the trial.
        trial: A RUNNING trial.
        has_died: Whether its process died, rather than that it was interrupted.

    Returns:
        Whether this process set the trial to FAIL, rather than another one.
    """
    record, trial_id = TrialRecord(trial), _optuna.id_of(trial)
    before, done = record.deaths or {"count": 0}, (record.backup or {}).get("done", 0)
    # Workers that died since a backup was further than that of the death before, which is a sign of
    # progress. A new name of a backup is none: it is recorded before the file is complete.
    count = has_died + (before["count"] if done <= before.get("done", 0) else 0)
    if count >= _MOST_DEATHS:
        reason = f"{DIED} {count} times"
        if is_ours := fail(study, trial_id, Ending.FAILED, reason):
            # Nobody tries this configuration again.
            _signals.print_line(f"Giving up on trial {trial.number} with {record.params}: {reason}")
        return is_ours
    laid_out = None
    others = study.get_trials(deepcopy=False)
    if not any(TrialRecord(one).retry_of == trial.number for one in others):
        attrs = {} if record.backup is None else {TrialRecord.backup: record.backup}
        attrs[TrialRecord.deaths] = {"count": count, "done": done}
        same = {key: trial.user_attrs[key] for key in _SAME_OF_USER if key in trial.user_attrs}
        same[TrialRecord.retry_of] = trial.number
        laid_out = lay_out(study, record.params, attrs, same)
    is_ours = fail(study, trial_id, Ending.CUT_OFF, DIED if has_died else INTERRUPTED)
    if laid_out is not None:
        _give_way(study, laid_out)
    return is_ours


def idle_retries(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the WAITING retries that no worker may take.

    Args:
        trials: All trials of a study, ordered by number.
    """
    free = [trial for trial in trials if trial.state is TrialState.WAITING]
    waiting = {one.number for one in free if TrialRecord(one).retry_of is not None}
    if not waiting:
        return waiting  # and take no closer look at thousands of trials
    retries = [trial for trial in trials if TrialRecord(trial).retry_of is not None]
    firsts = {TrialRecord(one).retry_of: one.number for one in reversed(retries)}
    again = {trial.number for trial in trials if TrialRecord(trial).ending.is_run_again}
    return waiting - {number for origin, number in firsts.items() if origin in again}


def _give_way(study: optuna.Study, laid_out: int) -> None:
    """Withdraw a retry if no worker may take it: its trial ended, or has an earlier retry."""
    trials = study.get_trials(deepcopy=False)
    idle = idle_retries(trials)
    if any(_optuna.id_of(one) == laid_out and one.number in idle for one in trials):
        fail(study, laid_out, Ending.WITHDRAWN, "laid out twice")
