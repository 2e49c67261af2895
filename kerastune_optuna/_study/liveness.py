"""Which process runs a trial, and whether it is still alive."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._storage import WORKER, database
from kerastune_optuna._study.record import TrialRecord

_SIGNATURE = re.compile(r"(?P<machine>.+):(?P<pid>\d+):(?P<started>\d+)(@(?P<file>\d+))?(#\d+)?")
_STARTTIME = 19  # the place of starttime in /proc/PID/stat, counted from the state: see proc(5)

_ANOTHERS = "another process runs this trial"  # the message of an error that nobody sees
# The trials that this process runs, by their signatures: two storages may use the same id.
_running_here: dict[str, tuple[int, BaseStorage]] = {}
_runs = itertools.count()  # makes each signature of this process another one
# The signatures of the search in this thread.
_by_one_search: ContextVar[set[str] | None] = ContextVar("by_one_search", default=None)


@lru_cache(maxsize=1)
def machine() -> str:
    """Return a name that processes share only if they see each other and have the same clock."""
    name = socket.gethostname().replace(":", "-")
    return f"{name}-{hashlib.sha256(_identity().encode()).hexdigest()[:12]}"


def _identity() -> str:
    """Return a text that differs between machines, and between the containers of one machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        # Containers may share a machine without sharing process ids, or the time since the boot.
        # Linux has namespaces of time since 5.6.
        kinds = [kind for kind in ("pid", "time") if kind in os.listdir("/proc/self/ns")]
        return " ".join((boot, *(os.readlink(f"/proc/self/ns/{kind}") for kind in kinds)))
    except OSError:  # not Linux
        # If uuid finds no network address, it returns a random number: then each process seems to
        # be on another machine.
        return str(uuid.getnode())


def signature() -> str:
    """Return the machine, process id and start time of this process."""
    # With the start time, because the system reuses the ids of dead processes.
    return f"{machine()}:{os.getpid()}:{started(os.getpid())}"


def sign(study: optuna.Study, trial_id: int) -> None:
    """Write into a trial that this process runs it, from now until `leave`."""
    storage = _optuna.storage_of(study)
    file = database.inode(storage)
    own = f"{signature()}{'' if file is None else f'@{file}'}#{next(_runs)}"
    with ExitStack() as undo:
        undo.callback(leave, study, trial_id)  # if signing fails, because others failed the trial
        if (signed := _by_one_search.get()) is not None:
            signed.add(own)
        _running_here[own] = trial_id, storage
        storage.set_trial_user_attr(trial_id, WORKER, own)
        undo.pop_all()


def leave(study: optuna.Study, trial_id: int) -> None:
    """Note that this process no longer runs a trial, however it ended."""
    _forget(_signatures_of(_optuna.storage_of(study), trial_id))


def _signatures_of(storage: BaseStorage, trial_id: int) -> set[str]:
    runs = tuple(_running_here.items())
    return {own for own, run in runs if run == (trial_id, storage)}


def _forget(signatures: set[str]) -> None:
    for own in signatures:
        _running_here.pop(own, None)


def check_signature(storage: BaseStorage, trial_id: int) -> None:
    """Leave a trial that this process ran, if by now another one runs or may take it.

    A server that was away may give a trial to two workers, or lose that one has taken it.

    Raises:
        UpdateFinishedTrialError: The trial is another's.
    """
    stored, own = storage.get_trial(trial_id), _signatures_of(storage, trial_id)
    is_anothers = signed_by(stored) is not None and TrialRecord(stored).worker not in own
    if is_anothers or stored.state is TrialState.WAITING:
        _forget(own)
        raise UpdateFinishedTrialError(_ANOTHERS)


def check_not_left(trial: BaseTrial) -> None:
    """Raise if this process has left a trial that it signed; this asks no storage.

    Raises:
        UpdateFinishedTrialError: The trial is another's.
    """
    known = _optuna.as_known(trial) if isinstance(trial, Trial) else None
    if known is not None and signed_by(known) is not None and not is_run_here(known):
        raise UpdateFinishedTrialError(_ANOTHERS)


def is_run_here(trial: FrozenTrial) -> bool:
    """Whether this process still runs a trial that it signed; False once its search has ended."""
    return TrialRecord(trial).worker in _running_here


def signed_in(storage: BaseStorage) -> list[int]:
    """Return the ids of the trials that this process runs in a storage."""
    return [trial_id for trial_id, of in tuple(_running_here.values()) if of is storage]


@contextmanager
def leaving_all() -> Iterator[None]:
    """Leave all trials that were signed within the block, even if an interrupt ends it."""
    signed: set[str] = set()
    token = _by_one_search.set(signed)
    try:
        yield
    finally:
        _forget(signed)
        _by_one_search.reset(token)


def worker_of(trial: FrozenTrial) -> str | None:
    """Return the signature of a trial's process without its file and run; None if unsigned."""
    signed = TrialRecord(trial).worker
    return None if signed is None else re.split("[@#]", signed)[0]


def is_signed_here(trial: FrozenTrial) -> bool:
    """Whether this process signed a trial."""
    return worker_of(trial) == signature()


def ran_elsewhere(study: optuna.Study) -> Callable[[FrozenTrial], bool]:
    """Return a function that says whether a trial ran in another SQLite file, before a copy."""
    storage = _optuna.storage_of(study)
    if not database.is_there(storage):  # we cannot know, and the next call to the storage raises
        return lambda trial: False
    here = database.inode(storage)
    places = (None, None if here is None else str(here))

    def ran(trial: FrozenTrial) -> bool:
        signed = signed_by(trial)
        return signed is not None and signed["file"] not in places

    return ran


def is_signed_elsewhere(trial: FrozenTrial) -> bool:
    """Whether another process of kerastune_optuna signed a trial."""
    return signed_by(trial) is not None and not is_signed_here(trial)


def is_foreign(trial: FrozenTrial) -> bool:
    """Whether other code runs or ran a trial: no worker took it as a slot, or signed it."""
    return TrialRecord(trial).worker is None and TrialRecord(trial).slot is None


def whereabouts(trial: FrozenTrial) -> str:
    """Return in words where a signed trial runs."""
    if (parts := signed_by(trial)) is None:
        return "somewhere"
    is_here = parts["machine"] == machine()
    where = "this machine" if is_here else re.sub(r"-[0-9a-f]{12}$", "", parts["machine"])
    return f"in process {parts['pid']} on {where}"


def signed_by(trial: FrozenTrial) -> re.Match[str] | None:
    """Return the parts of a trial's signature; None if no process of ours signed it."""
    return _SIGNATURE.fullmatch(TrialRecord(trial).worker or "")


def runs(signed: re.Match[str]) -> bool:
    """Whether the process of this machine that signed a trial still runs."""
    pid = int(signed["pid"])
    try:
        is_there = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return is_there and started(pid) == int(signed["started"])
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return _is_hidden(pid)
    except psutil.AccessDenied:
        return True  # another user's process: nothing says that it is gone


def is_seen(signed: re.Match[str]) -> bool:
    """Whether this process can see if the process that signed a trial still runs."""
    return signed["machine"] == machine() and not _is_hidden(int(signed["pid"]))


def _is_hidden(pid: int) -> bool:
    """Whether another user's process has an id that /proc does not show: see hidepid in proc(5)."""
    if psutil.LINUX:  # on Windows this would end the process
        with suppress(ProcessLookupError):
            try:
                os.kill(pid, 0)
            except PermissionError:
                return not Path(f"/proc/{pid}").exists()
    return False


def started(pid: int) -> int:
    """Return when a process started: on Linux in ticks since the boot, which nobody can set."""
    if not psutil.LINUX:
        return int(psutil.Process(pid).create_time())
    # The program's name comes before, in brackets, and may itself contain brackets and spaces.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[_STARTTIME])
