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
SLOT = "kerastune_optuna:slot"  # the system attr of a trial that says which machine laid it out
DIED = "its worker died"  # the stop_reason of a trial whose process is gone
INTERRUPTED = "interrupted"  # the stop_reason of a trial that Ctrl-C or SIGTERM ended
_SIGNING_SECONDS = 60  # longer than a worker takes from taking a trial to signing it


@lru_cache(maxsize=1)
def machine() -> str:
    """Return a name that only processes share which can see each other."""
    name = socket.gethostname().replace(":", "-")
    try:
        # Machines may share a host name, and containers a machine without sharing process ids.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        namespace = "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))
    except OSError:  # not Linux
        return name
    return f"{name}-{boot}-{namespace}"


def signature() -> str:
    """Return the machine, process id and start time of this process."""
    # A process id alone would be taken for alive again once the system has reused it.
    return f"{machine()}:{os.getpid()}:{int(psutil.Process().create_time())}"


def _runs(pid: int, started: int) -> bool:
    """Whether the process that started then still runs."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return int(process.create_time()) == started
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # another user's: nothing says that it is gone


def is_dead(trial: FrozenTrial) -> bool:
    """Whether the process that ran a trial is surely gone; of other machines nothing is sure."""
    signed = trial.user_attrs.get(WORKER)
    if signed is None:
        return _was_never_signed(trial)
    where, pid, started = str(signed).rsplit(":", 2)
    return where == machine() and not _runs(int(pid), int(started))


def _was_never_signed(trial: FrozenTrial) -> bool:
    """Whether a worker of this machine took the trial and died before it could sign."""
    began = trial.datetime_start
    if trial.system_attrs.get(SLOT) != machine() or began is None:
        return False
    return datetime.now() - began > timedelta(seconds=_SIGNING_SECONDS)


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
