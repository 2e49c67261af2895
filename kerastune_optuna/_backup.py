"""Backups of a running trial, so that its retry goes on where the last backup was made."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
from optuna.exceptions import UpdateFinishedTrialError

from kerastune_optuna._callbacks import BestWeights, PruningCallback
from kerastune_optuna._exceptions import WeightsError
from kerastune_optuna._history import EpochLogs
from kerastune_optuna._interrupt import requested
from kerastune_optuna._patience import is_away, one_try
from kerastune_optuna._retry import BACKUP
from kerastune_optuna._stopwatch import Stopwatch
from kerastune_optuna._store import (
    StoreSource,
    digest,
    fetch,
    folder_of,
    put,
    remove,
    size_of,
    telling_room,
)
from kerastune_optuna._weights import make_variables

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_STATE, _BEST = "state.json", "best.weights.h5"


class UnfitBackupError(Exception):
    """Say that a backup does not fit the model, as when the builder has changed."""


class Backup(keras.callbacks.BackupAndRestore):
    """Back up a trial now and then, and restore what an earlier process backed up of it.

    Keras saves the weights, the optimizer's state and the epoch; the reports, the logs and the
    weights of the best epoch are added, and all of it goes into the store as one file under a new
    name. Only when the trial names that file is the last one removed: there is a whole one at any
    time.

    Args:
        trial: The trial that is trained; it may be the retry of another.
        store: Where weights are kept.
        pruning: The trial's PruningCallback, before this one in the list.
        best: The trial's BestWeights, before this one in the list.
        logs: The trial's EpochLogs, before this one in the list.
        watch: The trial's Stopwatch, before this one in the list.
        every: Seconds between two backups at least.
        folder: Where files are prepared.
    """

    # Keras reads the logs of each batch from the device for callbacks that do not say so.
    async_safe = True

    def __init__(
        self,
        trial: optuna.Trial,
        store: StoreSource,
        pruning: PruningCallback,
        best: BestWeights,
        logs: EpochLogs,
        watch: Stopwatch,
        every: float,
        folder: str,
    ) -> None:
        super().__init__(folder, delete_checkpoint=False)
        self._trial = trial
        self._store = store
        self._pruning = pruning
        self._best = best
        self._logs = logs
        self._watch = watch
        self._every = every
        self._last = time.monotonic()
        self._record: dict[str, Any] | None = None
        self.error: WeightsError | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restore the last backup, where the trial has one that is whole."""
        self._last = time.monotonic()
        self._record = _recorded(self._trial)
        if self._record is None or not self._unpack(self._record):
            return
        state = json.loads(self._path(_STATE).read_text())
        try:
            self._restore(state)
        except MemoryError:
            raise  # which says nothing about the backup
        except Exception as error:  # Keras raises many kinds for weights that do not fit
            raise UnfitBackupError from error
        self._pruning.resume(state)
        self._logs.resume(state["logs"])
        self._watch.resume(state.get("seconds", 0.0))  # which older backups do not have

    def _restore(self, state: Mapping[str, Any]) -> None:
        if any(map(self._is_unbuilt_optimizer, vars(self.model).values())):
            # Keras builds the compiled one alone, and skips the state of others in silence.
            raise ValueError("the model holds optimizers of its own")
        if not self.model.built:
            make_variables(self.model, state["shapes"])
        has_best = self._path(_BEST).exists()
        if has_best:
            skipped = [self.model.optimizer]
            keras.saving.load_weights(self.model, self._path(_BEST), objects_to_skip=skipped)
            self._best.resume()
        super().on_train_begin()
        if not has_best:
            self._best.resume()

    def _is_unbuilt_optimizer(self, value: object) -> bool:
        if not isinstance(value, keras.optimizers.Optimizer) or value is self.model.optimizer:
            return False
        return not value.built

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Back up, unless the last time is too short ago."""
        if requested() or self.error or time.monotonic() - self._last < self._every:
            return
        try:
            with telling_room(tempfile.gettempdir(), 4 * size_of(self.model)):
                super().on_epoch_end(epoch, logs)
                self._save_best(epoch)
            state = {**self._pruning.state(), "logs": self._logs.rows}
            state["seconds"], state["shapes"] = self._watch.seconds, self.model.get_build_config()
            self._path(_STATE).write_text(json.dumps(state))
            self._pack()
        except Exception as error:  # layers of the user and stores of any kind raise anything
            self.error = WeightsError(  # raised once the trial has its result
                f"Trial {self._trial.number} could not be backed up: {type(error).__name__}: "
                f"{error}. Its result is kept. Make room, mend the layer or the store, or pass "
                "backup_every=None."
            )
        self._last = time.monotonic()

    def _save_best(self, epoch: int) -> None:
        """Save the weights of the best epoch too, where they are not those of this one."""
        self._path(_BEST).unlink(missing_ok=True)
        if self._pruning.best_epoch in (None, epoch):
            return
        now = self.model.get_weights()
        self._best.restore()
        try:
            skipped = [self.model.optimizer]
            keras.saving.save_weights(self.model, self._path(_BEST), objects_to_skip=skipped)
        finally:
            self.model.set_weights(now)

    def _pack(self) -> None:
        """Put the working files into the store, once the trial knows of the file to come."""
        last = None if self._record is None else {**self._record, "previous": None}
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(shutil.make_archive(str(Path(folder, "backup")), "tar", self.backup_dir))
            name = f"{uuid.uuid4()}.backup"
            record = {"id": name, "sha256": digest(packed), "previous": last}
            if not self._let_know(record):
                return  # the storage is away: the last backup stays the one that counts
            with telling_room(folder_of(self._store), packed.stat().st_size):
                put(self._store, name, packed)
        self._record = record
        if last is not None:
            remove(self._store, last["id"])

    def _let_know(self, record: Mapping[str, Any]) -> bool:
        """Write into the trial where its backup will be; False where the storage is away."""
        try:
            with one_try():
                self._trial.storage.set_trial_system_attr(self._trial._trial_id, BACKUP, record)
        except UpdateFinishedTrialError:
            return False  # another machine runs the trial; the next report finds out
        except Exception as error:
            if not is_away(error):
                raise
            return False
        return True

    def _unpack(self, record: Mapping[str, Any]) -> bool:
        """Get the last whole backup out of the store; False where there is none."""
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder, "backup.tar")
            for one in filter(None, (record, record["previous"])):
                if self._fetch(one["id"], packed) and digest(packed) == one["sha256"]:
                    shutil.unpack_archive(packed, self.backup_dir, filter="data")
                    return True
        print(
            f"The backup of trial {self._trial.number} is lost or damaged: it starts anew",
            file=sys.stderr,  # whatever verbose says: it is not progress
            flush=True,
        )
        return False

    def _fetch(self, name: str, path: Path) -> bool:
        """Get a file out of the store; False where that does not work, for whatever reason."""
        try:
            return fetch(self._store, name, path)
        except Exception:  # each kind of store has errors of its own, with no base in common
            return False  # which the caller prints: the backup is lost, and the trial starts anew

    def _path(self, name: str) -> Path:
        return Path(self.backup_dir, name)


def _recorded(trial: optuna.Trial) -> dict[str, Any] | None:
    """Return what the trial knows of its last backup."""
    attrs: dict[str, Any] = trial.storage.get_trial_system_attrs(trial._trial_id)
    return attrs.get(BACKUP)


def forget(trial: optuna.Trial) -> None:
    """Let a trial start anew, whatever was backed up of it."""
    trial.storage.set_trial_system_attr(trial._trial_id, BACKUP, None)


def discard(store: StoreSource, trial: FrozenTrial) -> None:
    """Delete the backups of a trial that has ended; nothing where it has none."""
    for one in _ids(trial):
        remove(store, one)


def discard_orphans(store: StoreSource, study: optuna.Study) -> None:
    """Delete the backups of trials that have ended and are not run again."""
    trials = study.get_trials(deepcopy=False)
    known = {one for trial in trials for one in _ids(trial)}
    needed = {one for trial in trials if not trial.state.is_finished() for one in _ids(trial)}
    for orphan in known - needed:
        remove(store, orphan)


def _ids(trial: FrozenTrial) -> set[str]:
    """Return under which names there may be backups of a trial."""
    record = trial.system_attrs.get(BACKUP)
    return {one["id"] for one in (record, (record or {}).get("previous")) if one}
