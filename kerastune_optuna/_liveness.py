"""Who runs a trial, and whether that process is still alive."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from kerastune_optuna._lease import Watch

WORKER = "worker"  # the user attr of a trial that says who runs it
SLOT = "kerastune_optuna:slot"  # the system attr of a trial that says which machine laid it out
_SIGNATURE = re.compile(r"(?P<machine>.+):(?P<pid>\d+):(?P<started>\d+)")
_SIGNING_SECONDS = 60  # longer than a worker takes from taking a trial to signing it


_running_here: set[int] = set()  # ids of the trials that this process runs
_signed: ContextVar[set[int] | None] = ContextVar("signed", default=None)  # by one search


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


def sign(study: optuna.Study, trial_id: int) -> None:
    """Write into a trial that this process runs it, from now until `leave`."""
    if (signed := _signed.get()) is not None:
        signed.add(trial_id)
    _running_here.add(trial_id)
    study._storage.set_trial_user_attr(trial_id, WORKER, signature())


def leave(trial_id: int) -> None:
    """Tell that this process runs a trial no longer, however it ended."""
    _running_here.discard(trial_id)


@contextmanager
def leaving_all() -> Iterator[None]:
    """Leave in the end what was signed meanwhile, wherever an interrupt ended it."""
    signed: set[int] = set()
    token = _signed.set(signed)
    try:
        yield
    finally:
        _running_here.difference_update(signed)
        _signed.reset(token)


def is_signed_here(trial: FrozenTrial) -> bool:
    """Whether this process signed a trial."""
    return bool(trial.user_attrs.get(WORKER) == signature())


def is_signed_elsewhere(trial: FrozenTrial) -> bool:
    """Whether another process of ours signed a trial."""
    return _parts(trial) is not None and not is_signed_here(trial)


def whereabouts(trial: FrozenTrial) -> str:
    """Return in words where a trial runs that a process of ours signed."""
    if (parts := _parts(trial)) is None:
        return "somewhere"
    if parts["machine"] == machine():
        return f"in process {parts['pid']} of this machine"
    return "on " + re.sub(r"-[0-9a-f]{8}-\d+$", "", parts["machine"])


def is_dead(trial: FrozenTrial, watch: Watch) -> bool:
    """Whether nobody runs a RUNNING trial any more.

    Args:
        trial: The trial, as it is in the storage now.
        watch: What has been seen of the trials of other machines.
    """
    signed = trial.user_attrs.get(WORKER)
    if signed is None:
        return _was_never_signed(trial)
    if is_signed_here(trial):
        return trial._trial_id not in _running_here  # left by a search that broke off
    parts = _SIGNATURE.fullmatch(str(signed))
    if parts is None:
        return False  # not signed by us
    if parts["machine"] == machine():
        return not _runs(int(parts["pid"]), int(parts["started"]))
    return watch.has_lapsed(trial)


def is_in_doubt(trial: FrozenTrial, watch: Watch) -> bool:
    """Whether only time can tell if a RUNNING trial's process on another machine is alive."""
    signed = trial.user_attrs.get(WORKER)
    if signed is None:  # taken a moment ago, or its worker died before it could sign
        return trial.system_attrs.get(SLOT) == machine() and not _was_never_signed(trial)
    parts = _SIGNATURE.fullmatch(str(signed))
    if parts is None or parts["machine"] == machine():
        return False
    return watch.is_in_doubt(trial)


def _parts(trial: FrozenTrial) -> re.Match[str] | None:
    return _SIGNATURE.fullmatch(str(trial.user_attrs.get(WORKER)))


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
