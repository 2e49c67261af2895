"""Who runs a trial, and whether that process is still alive."""

from __future__ import annotations

import os
import re
import socket
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from kerastune_optuna._lease import Watch

WORKER = "worker"  # the user attr of a trial that says who runs it
SLOT = "kerastune_optuna:slot"  # the system attr of a trial that says which machine laid it out
_SIGNATURE = re.compile(r"(?P<machine>.+):(?P<pid>\d+):(?P<started>\d+)")
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


def is_dead(trial: FrozenTrial, watch: Watch) -> bool:
    """Whether nobody runs a RUNNING trial any more.

    Args:
        trial: The trial, as it is in the storage now.
        watch: What has been seen of the trials of other machines.
    """
    signed = trial.user_attrs.get(WORKER)
    if signed is None:
        return _was_never_signed(trial)
    if signed == signature():
        return True  # who asks runs no trial: a search of this process broke off and left it
    parts = _SIGNATURE.fullmatch(str(signed))
    if parts is None:
        return False  # not signed by us
    if parts["machine"] == machine():
        return not _runs(int(parts["pid"]), int(parts["started"]))
    return watch.has_lapsed(trial)


def is_in_doubt(trial: FrozenTrial, watch: Watch) -> bool:
    """Whether only time can tell if a RUNNING trial's process on another machine is alive."""
    parts = _SIGNATURE.fullmatch(str(trial.user_attrs.get(WORKER)))
    if parts is None or parts["machine"] == machine():
        return False
    return watch.is_in_doubt(trial)


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


def _was_never_signed(trial: FrozenTrial) -> bool:
    """Whether a worker of this machine took the trial and died before it could sign."""
    began = trial.datetime_start
    if trial.system_attrs.get(SLOT) != machine() or began is None:
        return False
    return datetime.now() - began > timedelta(seconds=_SIGNING_SECONDS)
