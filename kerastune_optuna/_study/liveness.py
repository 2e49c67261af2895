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
from functools import lru_cache
from pathlib import Path

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._storage import Location, one_try
from kerastune_optuna._study.ending import Ending
from kerastune_optuna._study.record import TrialRecord

_BEAT_SECONDS = 10.0
_LOOK_SECONDS = 5.0
_LEASE_SECONDS = 90.0  # nine beats: some may be lost in a busy network
_SILENCE_SECONDS = 30.0  # if the database is silent for longer, no process could beat

_SIGNATURE = re.compile(r"(?P<machine>.+):(?P<pid>\d+):(?P<started>\d+)(@(?P<file>\d+))?(#\d+)?")
_STARTTIME = 19  # the place of starttime in /proc/PID/stat, counted from the state: see proc(5)
_ANOTHERS = "another process runs this trial"  # the message of an error that nobody sees
_ONE_TOO_MANY = "one too many: other workers began theirs first"
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


def started(pid: int) -> int:
    """Return when a process started: on Linux in ticks since the boot, which nobody can set."""
    if not psutil.LINUX:
        return int(psutil.Process(pid).create_time())
    # The program's name comes before, in brackets, and may itself contain brackets and spaces.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[_STARTTIME])


class OwnRuns:
    """Sign the trials that this process runs, and know them; `own_runs` is the only one."""

    def __init__(self) -> None:
        # The trials by their signatures, since two storages may use the same id. A trial that is
        # being created has no id yet.
        self._trials: dict[str, tuple[int | None, BaseStorage]] = {}
        self._numbers = itertools.count()  # makes each signature of this process another one

    def begin(self, study: optuna.Study) -> int:
        """Create a RUNNING trial that has this process's signature from the first moment on.

        Returns:
            The id of the trial.
        """
        storage = _optuna.storage_of(study)
        own = self._new_signature(storage)
        # Before the trial is there: other threads would take it for one that this process has left.
        self._trials[own] = None, storage
        attrs = {TrialRecord.worker: own}
        trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=attrs)
        # If the storage is away, or after Ctrl-C, `leaving_all` forgets the signature.
        trial_id = storage.create_new_trial(_optuna.id_of(study), trial)
        self._trials[own] = trial_id, storage
        return trial_id

    def sign(self, study: optuna.Study, trial_id: int) -> None:
        """Write into a trial that this process runs it, from now until `leave`."""
        storage = _optuna.storage_of(study)
        own = self._new_signature(storage)
        with ExitStack() as undo:
            undo.callback(self.leave, storage, trial_id)  # if others failed the trial meanwhile
            self._trials[own] = trial_id, storage
            storage.set_trial_user_attr(trial_id, TrialRecord.worker, own)
            undo.pop_all()

    def _new_signature(self, storage: BaseStorage) -> str:
        """Return a signature of this process that no other trial has, as one of the search's."""
        file = Location(storage).inode
        own = f"{signature()}{'' if file is None else f'@{file}'}#{next(self._numbers)}"
        if (signed := _by_one_search.get()) is not None:
            signed.add(own)
        return own

    def leave(self, storage: BaseStorage, trial_id: int) -> None:
        """Note that this process no longer runs a trial, however it ended."""
        for own, run in tuple(self._trials.items()):
            if run == (trial_id, storage):
                self._trials.pop(own, None)

    @contextmanager
    def leaving_all(self) -> Iterator[None]:
        """Leave all trials that were signed within the block, even if an interrupt ends it."""
        signed: set[str] = set()
        token = _by_one_search.set(signed)
        try:
            yield
        finally:
            for own in signed:
                self._trials.pop(own, None)
            _by_one_search.reset(token)

    def withdraw(self, study: optuna.Study, trial_id: int) -> bool:
        """Fail a trial that was one too many, and leave it; return False if it had ended."""
        is_withdrawn = fail(study, trial_id, Ending.WITHDRAWN, _ONE_TOO_MANY)
        self.leave(_optuna.storage_of(study), trial_id)
        return is_withdrawn

    def ids_in(self, storage: BaseStorage) -> list[int]:
        """Return the ids of the trials that run here and are in a storage."""
        runs = tuple(self._trials.values())
        return [trial_id for trial_id, of in runs if of is storage and trial_id is not None]

    def has(self, trial: FrozenTrial) -> bool:
        """Whether this process runs a trial, going by its signature."""
        return TrialRecord(trial).worker in self._trials

    def check(self, storage: BaseStorage, trial_id: int) -> None:
        """Leave a trial that this process ran, if by now another one runs or may take it.

        A server that was away may give a trial to two workers, or lose that one has taken it.

        Raises:
            UpdateFinishedTrialError: The trial is another's.
        """
        stored = storage.get_trial(trial_id)
        signed = signed_by(stored)
        is_anothers = signed is not None and self._trials.get(signed[0]) != (trial_id, storage)
        if is_anothers or stored.state is TrialState.WAITING:
            self.leave(storage, trial_id)
            raise UpdateFinishedTrialError(_ANOTHERS)

    def check_not_left(self, trial: BaseTrial) -> None:
        """Raise if this process has left a trial that it signed; this asks no storage.

        Raises:
            UpdateFinishedTrialError: The trial is another's.
        """
        signed = signed_by(_optuna.as_known(trial)) if isinstance(trial, Trial) else None
        if signed is not None and signed[0] not in self._trials:
            raise UpdateFinishedTrialError(_ANOTHERS)


own_runs = OwnRuns()


def fail(study: optuna.Study, trial_id: int, ending: Ending, reason: str) -> bool:
    """Set a trial to FAIL, since Optuna cannot delete it; return False if it had ended."""
    try:
        storage = _optuna.storage_of(study)
        storage.set_trial_user_attr(trial_id, TrialRecord.code, ending.name)
        storage.set_trial_user_attr(trial_id, TrialRecord.stop_reason, reason)
        return storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False


def signed_by(trial: FrozenTrial) -> re.Match[str] | None:
    """Return the parts of a trial's signature; None if no process of ours signed it."""
    return _SIGNATURE.fullmatch(TrialRecord(trial).worker or "")


def _files_of(study: optuna.Study) -> tuple[str | None, ...] | None:
    """Return what signatures of a study have as their file here; None if we cannot know.

    A copy of a SQLite file is another file, whose trials may have been signed in the original.
    """
    location = Location(_optuna.storage_of(study))
    if not location.is_there:  # the next call to the storage raises
        return None
    here = location.inode
    return None, None if here is None else str(here)


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


class Watch:
    """Beat for this process, and tell which trials of processes on other machines are dead."""

    def __init__(self) -> None:
        # By the ids of trials: the last beat, when it was first seen, and whether one came before.
        self._seen: dict[int, tuple[object, float, bool]] = {}
        self._last = float("-inf")
        self._asked = float("-inf")  # when the query for the trials was last sent
        self._heard = float("-inf")  # when the database last answered
        self._anew = float("-inf")  # when it last answered after a silence
        self._files: tuple[str | None, ...] | None = None  # those of the study that was last read

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
                    for trial_id in own_runs.ids_in(storage):
                        # Others thought that it was dead, or the server gave it to two.
                        with suppress(UpdateFinishedTrialError):
                            own_runs.check(storage, trial_id)
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
        self._asked, self._files = asked, _files_of(study)
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
        since, _ = self._last_beat(trial)
        # Counted until the query was sent: the answer says nothing about the time since then.
        return self._asked - max(since, self._anew) > _LEASE_SECONDS

    def _last_beat(self, trial: FrozenTrial) -> tuple[float, bool]:
        """Return when the last beat of a trial was first seen, and whether one came before it."""
        beat, trial_id = TrialRecord(trial).beat, _optuna.id_of(trial)
        if trial_id not in self._seen or self._seen[trial_id][0] != beat:
            self._seen[trial_id] = beat, time.monotonic(), trial_id in self._seen
        return self._seen[trial_id][1:]

    def is_dead(self, trial: FrozenTrial) -> bool:
        """Whether no process runs a RUNNING trial any more, as just read from the storage."""
        signed = signed_by(trial)
        if signed is not None and self._files is not None and signed["file"] not in self._files:
            return True  # its process, if it lives, does not know this copy of the study
        if TrialRecord(trial).process == signature():
            return not own_runs.has(trial)  # as once its search has ended
        if _is_told_by_beats(trial):
            return self.has_lapsed(trial)
        return signed is not None and not _is_alive(signed)

    def is_left(self, trial: FrozenTrial) -> bool:
        """Whether no search runs a RUNNING trial any more, though its process may live."""
        return self.has_lapsed(trial) and not own_runs.has(trial)

    def is_in_doubt(self, trial: FrozenTrial) -> bool:
        """Whether we have to wait to find out if the process of a RUNNING trial is alive."""
        if not _is_told_by_beats(trial):
            return False
        _, has_beaten = self._last_beat(trial)
        return not has_beaten and not self.has_lapsed(trial)

    @staticmethod
    def own_trials(study: optuna.Study) -> list[FrozenTrial]:
        """Return the trials of a study, but those that ran before its SQLite file was copied."""
        files, trials = _files_of(study), study.get_trials(deepcopy=False)
        return [
            trial
            for trial in trials
            if files is None or (signed := signed_by(trial)) is None or signed["file"] in files
        ]

    @staticmethod
    def is_elsewhere(trial: FrozenTrial) -> bool:
        """Whether another process of kerastune_optuna signed a trial."""
        return signed_by(trial) is not None and TrialRecord(trial).process != signature()

    @staticmethod
    def whereabouts(trial: FrozenTrial) -> str:
        """Return in words where a signed trial runs."""
        if (parts := signed_by(trial)) is None:
            return "somewhere"
        is_here = parts["machine"] == machine()
        where = "this machine" if is_here else re.sub(r"-[0-9a-f]{12}$", "", parts["machine"])
        return f"in process {parts['pid']} on {where}"


def _is_told_by_beats(trial: FrozenTrial) -> bool:
    """Whether one of our workers runs a trial, and its process cannot be seen from here."""
    if (record := TrialRecord(trial)).worker is None:
        # If the trial is ours, a worker took it a moment ago, or died before it could sign.
        return not record.is_foreign
    signed = signed_by(trial)
    return signed is not None and (signed["machine"] != machine() or _is_hidden(int(signed["pid"])))
