"""Leases: a process beats while it runs a trial; if others see no beat for long, it counts as dead.

The clocks of machines are not compared: a process that watches another one measures the time
between two beats by its own clock, and only while the database answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._storage import database, one_try
from kerastune_optuna._study import liveness
from kerastune_optuna._study.record import TrialRecord

_BEAT_SECONDS = 10.0
_LOOK_SECONDS = 5.0
_LEASE_SECONDS = 90.0  # nine beats: some may be lost in a busy network
_SILENCE_SECONDS = 30.0  # if the database is silent for longer, no process could beat


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
        if database.is_private(storage):
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
        beats = 0
        database.checkpoint(storage)
        while not over.wait(_BEAT_SECONDS):
            beats += 1
            database.checkpoint(storage)
            try:
                with one_try():
                    at_each()
                    for trial_id in liveness.signed_in(storage):
                        # Others thought that it was dead, or the server gave it to two.
                        with suppress(UpdateFinishedTrialError):
                            liveness.check_signature(storage, trial_id)
                            storage.set_trial_system_attr(trial_id, TrialRecord.beat, beats)
                        self.hear()
            except Exception:  # each database driver has its own errors, with no common base class
                # If the thread ended here, others would think that this process is dead. No error
                # is hidden: the trial uses the same storage, and waits for it or raises.
                continue
        database.checkpoint(storage)

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
        self._asked, self._ran_elsewhere = asked, liveness.ran_elsewhere(study)
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
        if liveness.is_signed_here(trial):
            return not liveness.is_run_here(trial)
        if _is_told_by_beats(trial):
            return self.has_lapsed(trial)
        signed = liveness.signed_by(trial)
        return signed is not None and not liveness.runs(signed)

    def is_in_doubt(self, trial: FrozenTrial) -> bool:
        """Whether we have to wait to find out if a RUNNING trial's process is alive."""
        if not _is_told_by_beats(trial):
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
        return not liveness.is_foreign(trial)
    signed = liveness.signed_by(trial)
    return signed is not None and not liveness.is_seen(signed)
