"""Which process runs a trial, and whether it is still alive.

A process signs the trials that it runs, and beats for them; if others see no beat for long, it
counts as dead. The clocks of machines are not compared: a process that watches another one measures
the time between two beats by its own clock, and only while the database answers.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._storage import Location, one_try
from kerastune_optuna._study.record import TrialRecord

_BEAT_SECONDS = 10.0
_LOOK_SECONDS = 5.0
_LEASE_SECONDS = 90.0  # nine beats: some may be lost in a busy network
_SILENCE_SECONDS = 30.0  # if the database is silent for longer, no process could beat

_SIGNATURE = re.compile(r"(?P<machine>.+):(?P<pid>\d+):(?P<started>\d+)(@(?P<file>\d+))?(#\d+)?")
_STARTTIME = 19  # the place of starttime in /proc/PID/stat, counted from the state: see proc(5)
_ANOTHERS = "another process runs this trial"  # the message of an error that nobody sees
# The trials that this process runs, by their signatures: two storages may use the same id. A trial
# that is being created has none yet.
_running_here: dict[str, tuple[int | None, BaseStorage]] = {}
_runs = itertools.count()  # makes each signature of this process another one
# The signatures of the search in this thread.
_by_one_search: ContextVar[set[str] | None] = ContextVar("by_one_search", default=None)


@lru_cache(maxsize=1)
def machine() -> str:
    """Return a name that processes share only if they see each other and have the same clock."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        # Containers may share a machine without sharing process ids, or the time since the boot.
        # Linux has namespaces of time since 5.6.
        kinds = [kind for kind in ("pid", "time") if kind in os.listdir("/proc/self/ns")]
        identity = " ".join((boot, *(os.readlink(f"/proc/self/ns/{kind}") for kind in kinds)))
    except OSError:  # not Linux
        # If uuid finds no network address, it returns a random number: then each process seems to
        # be on another machine.
        identity = str(uuid.getnode())
    name = socket.gethostname().replace(":", "-")
    return f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def signature() -> str:
    """Return the machine, process id and start time of this process."""
    # With the start time, because the system reuses the ids of dead processes.
    return f"{machine()}:{os.getpid()}:{started(os.getpid())}"


def begin(study: optuna.Study) -> int:
    """Create a RUNNING trial that has this process's signature from the first moment on.

    Returns:
        The id of the trial.
    """
    storage = _optuna.storage_of(study)
    own = _new_signature(storage)
    # Before the trial is there: other threads would take it for one that this process has left.
    _running_here[own] = None, storage
    attrs = {TrialRecord.worker: own}
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=attrs)
    with ExitStack() as undo:
        undo.callback(_running_here.pop, own, None)  # if the storage is away, or after Ctrl-C
        trial_id = storage.create_new_trial(_optuna.id_of(study), trial)
        undo.pop_all()
    _running_here[own] = trial_id, storage
    return trial_id


def sign(study: optuna.Study, trial_id: int) -> None:
    """Write into a trial that this process runs it, from now until `leave`."""
    storage = _optuna.storage_of(study)
    own = _new_signature(storage)
    with ExitStack() as undo:
        undo.callback(leave, study, trial_id)  # if signing fails, because others failed the trial
        _running_here[own] = trial_id, storage
        storage.set_trial_user_attr(trial_id, TrialRecord.worker, own)
        undo.pop_all()


def _new_signature(storage: BaseStorage) -> str:
    """Return a signature of this process that no other trial has, as one of the search's."""
    file = Location(storage).inode
    own = f"{signature()}{'' if file is None else f'@{file}'}#{next(_runs)}"
    if (signed := _by_one_search.get()) is not None:
        signed.add(own)
    return own


def leave(study: optuna.Study, trial_id: int) -> None:
    """Note that this process no longer runs a trial, however it ended."""
    _forget(_optuna.storage_of(study), trial_id)


def _forget(storage: BaseStorage, trial_id: int) -> None:
    for own, run in tuple(_running_here.items()):
        if run == (trial_id, storage):
            _running_here.pop(own, None)


def check_signature(storage: BaseStorage, trial_id: int) -> None:
    """Leave a trial that this process ran, if by now another one runs or may take it.

    A server that was away may give a trial to two workers, or lose that one has taken it.

    Raises:
        UpdateFinishedTrialError: The trial is another's.
    """
    stored = storage.get_trial(trial_id)
    signed = signed_by(stored)
    is_anothers = signed is not None and _running_here.get(signed[0]) != (trial_id, storage)
    if is_anothers or stored.state is TrialState.WAITING:
        _forget(storage, trial_id)
        raise UpdateFinishedTrialError(_ANOTHERS)


def check_not_left(trial: BaseTrial) -> None:
    """Raise if this process has left a trial that it signed; this asks no storage.

    Raises:
        UpdateFinishedTrialError: The trial is another's.
    """
    signed = signed_by(_optuna.as_known(trial)) if isinstance(trial, Trial) else None
    if signed is not None and signed[0] not in _running_here:
        raise UpdateFinishedTrialError(_ANOTHERS)


def signed_in(storage: BaseStorage) -> list[int]:
    """Return the ids of the trials that this process runs in a storage."""
    runs = tuple(_running_here.values())
    return [trial_id for trial_id, of in runs if of is storage and trial_id is not None]


@contextmanager
def leaving_all() -> Iterator[None]:
    """Leave all trials that were signed within the block, even if an interrupt ends it."""
    signed: set[str] = set()
    token = _by_one_search.set(signed)
    try:
        yield
    finally:
        for own in signed:
            _running_here.pop(own, None)
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
    location = Location(_optuna.storage_of(study))
    if not location.is_there:  # we cannot know, and the next call to the storage raises
        return lambda trial: False
    here = location.inode
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


def _is_alive(signed: re.Match[str]) -> bool:
    """Whether the process of this machine that signed a trial still runs."""
    pid = int(signed["pid"])
    try:
        is_there = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return is_there and started(pid) == int(signed["started"])
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return _is_hidden(pid)
    except psutil.AccessDenied:
        return True  # another user's process: nothing says that it is gone


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


@dataclass
class _Sight:
    """Hold the last beat that was seen of a trial, and since when."""

    beat: object
    since: float
    has_beaten: bool = False


class Watch:
    """Beat for this process, and tell which trials of processes on other machines are dead."""

    def __init__(self) -> None:
        self._seen: dict[int, _Sight] = {}
        self._last = float("-inf")
        self._asked = float("-inf")  # when the query for the trials was last sent
        self._heard = float("-inf")  # when the database last answered
        self._anew = float("-inf")  # when it last answered after a silence
        self._ran_elsewhere: Callable[[FrozenTrial], bool] = lambda trial: False

    @contextmanager
    def beating(
        self, study: optuna.Study, at_each: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Beat for the trials that this process has signed and not left.

        The beats come from a separate thread, which training cannot hold up. At each beat, and at
        the end, the write-ahead log of a SQLite database is written into its file, so that a copy
        of only the file lacks little.

        Args:
            study: The study of the trials.
            at_each: Called at each beat, whether a trial runs or not.
        """
        storage, over = _optuna.storage_of(study), threading.Event()
        if Location(storage).is_private:
            # No other process sees this storage. In a thread, SQLite in memory would be empty.
            yield
            return
        thread = threading.Thread(target=self._beat, args=(storage, at_each, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=1)  # enough, unless the storage hangs

    def _beat(
        self, storage: BaseStorage, at_each: Callable[[], None], over: threading.Event
    ) -> None:
        beats, location = 0, Location(storage)
        location.checkpoint()
        while not over.wait(_BEAT_SECONDS):
            beats += 1
            location.checkpoint()
            try:
                with one_try():
                    at_each()
                    for trial_id in signed_in(storage):
                        # Others thought that it was dead, or the server gave it to two.
                        with suppress(UpdateFinishedTrialError):
                            check_signature(storage, trial_id)
                            storage.set_trial_system_attr(trial_id, TrialRecord.beat, beats)
                        self.hear()
            except Exception:  # each database driver has its own errors, with no common base class
                # If the thread ended here, others would think that this process is dead. No error
                # is hidden: the trial uses the same storage, and waits for it or raises.
                continue
        location.checkpoint()

    def is_due(self) -> bool:
        """Whether it is time to read the running trials again, which takes a query."""
        due = time.monotonic() - self._last > _LOOK_SECONDS
        if due:
            self._last = time.monotonic()
        return due

    def running(self, study: optuna.Study) -> list[FrozenTrial]:
        """Read and return the trials that are running now."""
        asked = time.monotonic()
        trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self.hear()
        self._asked, self._ran_elsewhere = asked, ran_elsewhere(study)
        return trials

    def hear(self) -> None:
        """Note that the database answers.

        If it was silent for a while, other processes could not beat either, so all leases begin
        anew.
        """
        now = time.monotonic()
        if now - self._heard > _SILENCE_SECONDS:
            self._anew = now
        self._heard = now

    def has_lapsed(self, trial: FrozenTrial) -> bool:
        """Whether this watch has seen no beat of a trial for as long as a lease lasts."""
        # Counted until the query was sent: the answer says nothing about the time since then.
        return self._asked - max(self._look(trial).since, self._anew) > _LEASE_SECONDS

    def is_dead(self, trial: FrozenTrial) -> bool:
        """Whether no process runs a RUNNING trial any more, as just read from the storage."""
        if self._ran_elsewhere(trial):
            return True  # its process, if it lives, does not know this copy of the study
        if is_signed_here(trial):
            return TrialRecord(trial).worker not in _running_here  # as once its search has ended
        if _is_told_by_beats(trial):
            return self.has_lapsed(trial)
        signed = signed_by(trial)
        return signed is not None and not _is_alive(signed)

    def is_in_doubt(self, trial: FrozenTrial) -> bool:
        """Whether a trial is RUNNING, and we have to wait to find out if its process is alive."""
        if trial.state is not TrialState.RUNNING or not _is_told_by_beats(trial):
            return False
        return not self._look(trial).has_beaten and not self.has_lapsed(trial)

    def _look(self, trial: FrozenTrial) -> _Sight:
        beat = TrialRecord(trial).beat
        sight = self._seen.setdefault(_optuna.id_of(trial), _Sight(beat, time.monotonic()))
        if beat != sight.beat:
            sight.beat, sight.since, sight.has_beaten = beat, time.monotonic(), True
        return sight


def _is_told_by_beats(trial: FrozenTrial) -> bool:
    """Whether one of our workers runs a trial, and its process cannot be seen from here."""
    if TrialRecord(trial).worker is None:
        # If the trial is ours, a worker took it a moment ago, or died before it could sign.
        return not is_foreign(trial)
    signed = signed_by(trial)
    return signed is not None and (signed["machine"] != machine() or _is_hidden(int(signed["pid"])))
