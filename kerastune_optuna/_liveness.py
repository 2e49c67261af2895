"""Who runs a trial, and whether that process is still alive."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

WORKER = "worker"  # the user attr of a trial that says who runs it
DIED = "its worker died"  # the stop_reason of a trial whose process is gone
_SIGNING_SECONDS = 60  # longer than a worker takes from claiming a trial to signing it


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return a name of this machine that another machine of the same host name does not share."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    suffix = f"-{boot.read_text()[:8]}" if boot.exists() else ""
    return socket.gethostname().replace(":", "-") + suffix


def signature() -> str:
    """Return the machine, process id and start time of this process."""
    # A process id alone would be taken for alive again once the system has reused it.
    return f"{_machine()}:{os.getpid()}:{_start_time(os.getpid())}"


def _start_time(pid: int) -> int | None:
    """Return when a process started; None where there is none, or only a zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time())
    except psutil.NoSuchProcess:
        return None


def is_dead(trial: FrozenTrial) -> bool:
    """Whether the process that ran a trial is surely gone; of other machines nothing is sure."""
    signed = str(trial.user_attrs.get(WORKER, ""))
    if not signed:
        began = trial.datetime_start or datetime.now()
        return datetime.now() - began > timedelta(seconds=_SIGNING_SECONDS)
    machine, pid, started = signed.rsplit(":", 2)
    return machine == _machine() and str(_start_time(int(pid))) != started


def fail_dead_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Set the trials of dead processes to FAIL; return those that this process was first to set."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if is_dead(trial) and _fail(study, trial)]


def _fail(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Fail a trial; False where another process was first."""
    storage = study._storage
    try:
        storage.set_trial_user_attr(trial._trial_id, "stop_reason", DIED)
        return storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
