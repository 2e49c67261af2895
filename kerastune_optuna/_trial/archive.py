"""The archive of a trial's backups in the store, of which one is whole at any time."""

from __future__ import annotations

import json
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from kerastune_optuna._exceptions import WeightsError
from kerastune_optuna._scratch import scratch
from kerastune_optuna._signals import finishing, requested, tell
from kerastune_optuna._storage import StoreSource, artifacts, digest, one_try, reason, unless_away
from kerastune_optuna._study import TrialRecord
from kerastune_optuna._trial import state as _state
from kerastune_optuna._trial.state import State
from kerastune_optuna._trial.trainings import Series

_STATE, _SERIES = "state.json", "series.npz"


def _new_name() -> str:
    return f"{uuid.uuid4()}.backup"


@dataclass
class Archive:
    """Keep the backups of a trial in the store, each as one file under a new name.

    The trial names a new file before it is written, and the last file is removed only once the new
    one is whole. So a process that dies in between leaves one whole backup.

    Args:
        trial: The trial that is trained; it may be the retry of another.
        store: Where weights are kept.
        folder: Where its files are written and unpacked.
        epochs: How many epochs the search gives to a trial: a backup of a search with others is not
            used, since half of the one and half of the other compares with no other trial.
    """

    trial: optuna.Trial
    store: StoreSource
    folder: Path
    epochs: int
    error: WeightsError | None = None
    # The file name of the next backup. After a failure it stays the same, so that the next attempt
    # overwrites what the store may hold in part.
    _name: str = field(default_factory=_new_name)
    _record: Mapping[str, Any] | None = None
    _has_told: bool = False  # that the store is away

    def open(self, series: Series) -> None:
        """Unpack the last whole backup, and let the series go on from the trainings in it."""
        self._record = TrialRecord(self.trial).backup
        is_there = any(unpack(self.store, one, self.folder) for one in chain(self._record))
        state = state_in(self.folder) if is_there else None
        if state is not None and state["epochs"] == self.epochs:
            series.resume(state["series"], self._weights())
        elif self._record is not None:
            why = "its search had other epochs" if state else "its backup is lost or damaged"
            tell(f"Trial {self.trial.number} starts anew: {why}")
            self._clear()

    def _weights(self) -> State | None:
        path = self.folder / _SERIES
        return _state.read(path) if path.exists() else None

    def back_up(self, write: Callable[[], Mapping[str, Any]]) -> None:
        """Put what `write` writes into the folder, and returns as state, into the store.

        After an error no more is tried, and it is kept until the trial has its result.
        """
        if self.error is not None:
            return
        try:
            with finishing():
                state = {**write(), "epochs": self.epochs}
                (self.folder / _STATE).write_text(json.dumps(state))
                self._put_folder()
        except Exception as error:  # layers of the user and stores of any kind raise anything
            self.error = WeightsError(
                f"Trial {self.trial.number} could not be backed up: {type(error).__name__}: "
                f"{error}. Its result is kept. Make room, mend the layer or the store, or pass "
                "backup_every=None."
            )

    def back_up_between(self, series: Series, last: Mapping[str, Any]) -> None:
        """Back up between two trainings, so that a retry does not run the first one again.

        Args:
            series: The trainings that ended.
            last: The state of the last one's PruningCallback.
        """

        def write() -> Mapping[str, Any]:
            self._clear()  # of the checkpoint of the training that ended
            if (state := series.state_of_best) is not None:
                _state.write(self.folder / _SERIES, state)
            return {"reports": last["reports"], "series": series.state()}

        self.back_up(write)

    def _clear(self) -> None:
        for path in list(self.folder.iterdir()):
            path.unlink()

    def _put_folder(self) -> None:
        """Put the folder into the store as one file, which the trial names before."""
        last = self._record
        with scratch() as place:
            packed = place / "backup.zip"
            with zipfile.ZipFile(packed, "w") as file:  # without compression, which takes long
                for path in self.folder.iterdir():
                    file.write(path, path.name)
            record = {"id": self._name, "sha256": digest(packed), "previous": last}
            if not (self._let_know(record) and self._put(packed)):
                return  # what it needs is away: the last backup stays the one that counts
        self._record, self._name = record, _new_name()
        with one_try(), suppress(Exception):  # of any store; the next backup removes what is left
            artifacts.remove(self.store, *(one["id"] for one in chain(last)))
            self._record = {**record, "previous": None}

    def _put(self, packed: Path) -> bool:
        """Put a backup into the store; False where the store is away, which is told once.

        A training that goes on does not wait for the store: its next backup tries again. A training
        that a signal ends has no next backup, and waits.
        """
        try:
            with nullcontext() if requested() else one_try():
                artifacts.put(self.store, self._name, packed)
        except Exception as error:  # stores of any kind raise anything
            if not artifacts.may_pass(error):
                raise
            if not self._has_told:
                number = self.trial.number
                tell(f"Trial {number} could not be backed up, and goes on: {reason(error)}")
            self._has_told = True
            return False
        return True

    def _let_know(self, record: Mapping[str, Any]) -> bool:
        """Write into the trial where its backup will be; False where the storage is away."""
        # Where another process runs the trial, the next report raises the suppressed error again.
        with unless_away(), suppress(UpdateFinishedTrialError):
            TrialRecord(self.trial).backup = dict(record)
            return True
        return False


def unpack(store: StoreSource, record: Mapping[str, Any], folder: Path) -> bool:
    """Unpack a file of the store that a trial has on record; False where it is not whole."""
    with scratch() as place:
        packed = place / "backup.zip"
        try:
            is_there = artifacts.fetch(store, record["id"], packed)
        except Exception:  # each kind of store has errors of its own, with no base in common
            return False  # which the caller tells
        if is_there and digest(packed) == record["sha256"]:
            shutil.unpack_archive(packed, folder, "zip")  # which writes nothing elsewhere
            return True
    return False


def state_in(folder: Path) -> dict[str, Any] | None:
    """Return the state in an unpacked backup; None where there is no backup."""
    path = folder / _STATE
    return json.loads(path.read_text()) if path.exists() else None


def chain(record: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the records that a trial has of its backups, the last one first."""
    while record is not None:
        yield record
        record = record["previous"]
