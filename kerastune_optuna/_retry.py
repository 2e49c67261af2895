"""Run a trial again whose process died or was interrupted: same parameters, seed and backup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from kerastune_optuna._liveness import SLOT, machine

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

DIED = "its worker died"  # the stop_reason of a trial whose process is gone
INTERRUPTED = "interrupted"  # the stop_reason of a trial that Ctrl-C or SIGTERM ended
_TWICE = "laid out twice"  # the stop_reason of a second retry of one trial
_DEADLY = "its worker died {} times"  # the stop_reason of a trial that is not run again
_MOST_DEATHS = 3  # one that fills the memory would kill worker after worker

RETRY_OF = "retry_of"  # the user attr with the number of the trial that is run again
BACKUP = "kerastune_optuna:backup"  # the system attr that says where the trial's last backup is
_DEATHS = "kerastune_optuna:deaths"  # the system attr with how many workers died of the trial
_POINT = ("grid_id", "search_space")  # the system attrs in which GridSampler keeps a trial's point


def was_cut_off(trial: FrozenTrial) -> bool:
    """Whether a FAIL trial says nothing about its configuration."""
    return trial.user_attrs.get("stop_reason") in (DIED, INTERRUPTED, _TWICE)


def lay_out(
    study: optuna.Study,
    system_attrs: Mapping[str, Any] | None = None,
    user_attrs: Mapping[str, Any] | None = None,
) -> int:
    """Add a WAITING trial that a worker may take, and return its id."""
    slot = optuna.trial.create_trial(
        state=TrialState.WAITING,
        system_attrs={SLOT: machine(), **(system_attrs or {})},
        user_attrs=dict(user_attrs or {}),
    )
    return study._storage.create_new_trial(study._study_id, slot)


def _lay_out_again(study: optuna.Study, trial: FrozenTrial, deaths: int) -> int:
    attrs = trial.system_attrs
    kept = {key: attrs[key] for key in (*_POINT, BACKUP) if key in attrs}
    # What an enqueued trial has: any sampler then leaves these parameters as they are.
    fixed = {**attrs.get("fixed_params", {}), **trial.params}
    seed = {key: trial.user_attrs[key] for key in ("seed",) if key in trial.user_attrs}
    return lay_out(
        study,
        {**kept, "fixed_params": fixed, _DEATHS: deaths},
        {**seed, RETRY_OF: trial.number},
    )


def fail_and_retry(study: optuna.Study, trial: FrozenTrial, reason: str) -> bool:
    """Set a trial that was cut off to FAIL, and lay it out again.

    It is laid out before it is failed: a process that dies in between leaves a RUNNING trial, which
    the next one finds. Of several processes that do so at once, one keeps its retry.

    Args:
        study: Where the trial is.
        trial: A RUNNING trial.
        reason: DIED or INTERRUPTED.

    Returns:
        Whether this process was the one.
    """
    storage, deaths = study._storage, trial.system_attrs.get(_DEATHS, 0) + (reason == DIED)
    if deaths >= _MOST_DEATHS:
        return _fail(study, trial._trial_id, _DEADLY.format(deaths))
    laid_out = None if _has_retry(study, trial) else _lay_out_again(study, trial, deaths)
    if _fail(study, trial._trial_id, reason):
        return True
    if laid_out is not None and storage.set_trial_state_values(laid_out, TrialState.RUNNING):
        _fail(study, laid_out, _TWICE)
    return False


def _has_retry(study: optuna.Study, trial: FrozenTrial) -> bool:
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return any(slot.user_attrs.get(RETRY_OF) == trial.number for slot in waiting)


def _fail(study: optuna.Study, trial_id: int, reason: str) -> bool:
    """Fail a trial; False where another process was first."""
    try:
        study._storage.set_trial_user_attr(trial_id, "stop_reason", reason)
        return study._storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
