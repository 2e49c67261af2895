"""Backups of a running trial: what is in one, and the archive that always has an intact one."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError

from kerastune_optuna._backend import begin_at, generators, set_generators
from kerastune_optuna._data import FitArguments, to_plain
from kerastune_optuna._exceptions import WeightsError
from kerastune_optuna._scratch import ScratchError, scratch
from kerastune_optuna._signals import finishing, print_line, requested
from kerastune_optuna._storage import (
    PatientStore,
    is_of_full_disk,
    may_pass,
    one_try,
    reason,
    telling_room,
    unless_away,
)
from kerastune_optuna._study import Card, Ending, TrialRecord
from kerastune_optuna._trial.bridge import Hook
from kerastune_optuna._trial.files import chain, digest
from kerastune_optuna._trial.hooks import Best
from kerastune_optuna._trial.ledger import Ledger, Training
from kerastune_optuna._trial.variables import (
    build_optimizer,
    give_back,
    lacks_variables,
    make_again,
    optimizers,
    read_arrays,
    variables_of,
    write_arrays,
)

# The files of a backup: the model's variables now and at its best epoch, those of its optimizers,
# the weights of the best training that ended, and what JSON represents.
_NOW, _BEST, _OPTIMIZERS = "now.npz", "best.npz", "optimizers.npz"
_OF_BEST, _STATE = "best_training.npz", "state.json"


@dataclass
class Archive:
    """Keep the backups of a trial in the store, each as one file under a new name.

    The name of a new file is recorded in the trial before the file is written, and the previous
    file is removed only once the new one is complete. So if the process dies in between, an intact
    backup remains.

    Args:
        trial: The trial that is trained; it may be the retry of another.
        store: The store in which weights are kept.
        folder: The folder in which the files of a backup are written and unpacked.
        card: The card of the search. A backup from a search with other data, epochs or arguments
            is not used, since a trial with a mixture of both would not be comparable.
    """

    trial: optuna.Trial
    store: PatientStore
    folder: Path
    card: Card
    error: WeightsError | None = None
    state: Mapping[str, Any] = field(default_factory=dict)  # of the backup that was unpacked
    # The file name of a backup that is not complete yet, so that the next attempt after a failure
    # overwrites an incomplete file.
    _name: str = ""
    _record: Mapping[str, Any] | None = None
    _has_told: bool = False  # whether the user was told that the store is away

    def open(self, ledger: Ledger, record: Mapping[str, Any]) -> None:
        """Unpack the last intact backup that the trial has on record; resume the ledger from it."""
        self._record, why = record, "its backup is lost or damaged"
        if any(unpack(self.store, one, self.folder) for one in chain(record)):
            self.state = json.loads((self.folder / _STATE).read_text())
            before = Card.all_of(self.trial.study).get(self.state["card"], Card())
            if not (changes := before.changes_for_a_trial(self.card)):
                path = self.folder / _OF_BEST
                ledger.resume(self.state["ledger"], read_arrays(path) if path.exists() else None)
                return
            why = "; ".join(changes)
        print_line(f"Trial {self.trial.number} starts over: {why}")
        self._clear()

    def back_up(self, ledger: Ledger, write: Callable[[], Mapping[str, Any]]) -> None:
        """Put the ledger, and the files that `write` writes into the folder, into the store.

        After an error, no further backups are made; the error is kept until the trial has a result.

        Args:
            ledger: The ledger.
            write: Writes the files, and returns what else a resumed training needs.

        Raises:
            ScratchError: The temporary folder cannot be used, so the trial is to be run again.
        """
        if self.error is not None:
            return
        try:
            with finishing():
                of_model, of_best = write(), ledger.state_of_best
                if of_best is not None and not (self.folder / _OF_BEST).exists():
                    write_arrays(self.folder / _OF_BEST, of_best)
                state = {"card": self.card.key, "ledger": ledger.state(), "model": of_model}
                (self.folder / _STATE).write_text(json.dumps(state))
                n_epochs = sum(len(one.rows) for one in [*ledger.past, ledger.now])
                self._put_folder(n_epochs + ledger.number)
        except ScratchError:
            raise
        except Exception as error:  # the user's layers and stores may raise anything
            self.error = WeightsError(
                f"Trial {self.trial.number} could not be backed up: {type(error).__name__}: "
                f"{error}. Its result is kept. Free disk space, fix the layer or the store, or "
                "pass backup_every=None."
            )

    def back_up_between(self, ledger: Ledger) -> None:
        """Back up between two trainings, so that a retry does not repeat those that ended."""

        def write() -> Mapping[str, Any]:
            self._clear()  # removes the files of the training that ended
            return {}

        self.back_up(ledger, write)

    def _clear(self) -> None:
        for path in list(self.folder.iterdir()):
            path.unlink()

    def _put_folder(self, done: int) -> None:
        """Put the folder into the store as one file, after recording its name in the trial.

        Args:
            done: How many epochs and trainings it holds, by which a retry sees progress.
        """
        last = self._record
        self._name = self._name or f"{uuid.uuid4()}.backup"
        with scratch() as place:
            packed = place / "backup.zip"
            with zipfile.ZipFile(packed, "w") as file:  # uncompressed, since compression is slow
                for path in self.folder.iterdir():
                    file.write(path, path.name)
            record = {"id": self._name, "sha256": digest(packed), "previous": last, "done": done}
            if not (self._let_know(record) and self._put(packed)):
                return  # the storage or the store is away, so the last backup remains valid
        self._record, self._name = record, ""
        with one_try(), suppress(Exception):  # the next backup removes what is left
            self.store.remove(*(one["id"] for one in chain(last)))
            self._record = {**record, "previous": None}

    def _put(self, packed: Path) -> bool:
        """Put a backup into the store; if the store is away, tell the user once and return False.

        A training that continues does not wait for the store, since its next backup tries again. A
        training that a signal stops has no next backup, so it waits.
        """
        try:
            with nullcontext() if requested() else one_try():
                self.store.put(self._name, packed)
        except Exception as error:  # a store may raise anything
            if not may_pass(error):
                raise
            if not self._has_told:
                number = self.trial.number
                print_line(f"Trial {number} could not be backed up and continues: {reason(error)}")
            self._has_told = True
            return False
        return True

    def _let_know(self, record: Mapping[str, Any]) -> bool:
        """Record in the trial where its backup will be; False if the storage is away."""
        # If another process runs the trial, the next report raises the suppressed error again.
        with unless_away(), suppress(UpdateFinishedTrialError):
            TrialRecord(self.trial).backup = dict(record)
            return True
        return False


def unpack(store: PatientStore, record: Mapping[str, Any], folder: Path) -> bool:
    """Unpack a backup that a trial has on record; False if it is missing or damaged."""
    with scratch() as place:
        packed = place / "backup.zip"
        try:
            is_there = store.fetch(record["id"], packed)
        except Exception as error:  # stores have no common base class for their errors
            if is_of_full_disk(error):
                raise  # of the folder: the backup may be intact
            return False  # the caller informs the user
        if is_there and digest(packed) == record["sha256"]:
            shutil.unpack_archive(packed, folder, "zip")  # writes nothing outside of the folder
            return True
    return False


class UnfitBackupError(Exception):
    """Signal that a backup does not fit the model, as when the builder has changed."""


class Backup(Hook):
    """Back up a training at intervals, and restore the last backup of an earlier process.

    A backup holds the ledger, the current variables, including the optimizer's, and the weights of
    the best epoch.

    Args:
        archive: The archive of the trial's backups, whose folder holds the last one, unpacked.
        best: The hook that holds the weights of the best epoch.
        every: The least number of seconds between two backups.
        fit: The data that the model is trained on.
    """

    def __init__(self, archive: Archive, best: Best, every: float, fit: FitArguments) -> None:
        self._archive, self._best, self._every, self._fit = archive, best, every, fit
        self._saved = time.monotonic()

    def begin(self, ledger: Ledger, model: keras.Model) -> None:
        """Restore the last backup if it was made during this training."""
        self._saved = time.monotonic()
        if ledger.backed_up is None:
            return
        try:
            self._restore(ledger.backed_up, model)
        except MemoryError:
            raise  # this does not show that the backup does not fit
        except Exception as error:  # Keras raises many kinds of errors for weights that do not fit
            raise UnfitBackupError from error
        ledger.go_on()

    def _restore(self, training: Training, model: keras.Model) -> None:
        """Give the model back what it had when a training was backed up."""
        state = self._archive.state["model"]
        if lacks_variables(model):
            batch = to_plain(self._fit.specification_of_a_batch())
            make_again(model, {"shapes": state["shapes"], "batch": batch})
        build_optimizer(model)
        saved = read_arrays(self._path(_OPTIMIZERS))
        # Optimizers that only the model's own steps use may not be built yet. The file then has
        # more arrays, zip() raises, and the trial starts over.
        for variable, value in zip(_variables_of_optimizers(model), saved, strict=True):
            variable.assign(value)
        now, best = read_arrays(self._path(_NOW)), self._path(_BEST)
        if training.best_epoch is not None:
            self._best.state = read_arrays(best) if best.exists() else now
        give_back(model, now)
        begin_at(model, state["next_epoch"])
        self._fit.skip(len(training.rows))
        set_generators(state["chance"])

    def epoch(self, ledger: Ledger, model: keras.Model, *, next_epoch: int | None = None) -> None:
        """Back up if a backup is due or a signal asked the search to end.

        Args:
            ledger: The ledger.
            model: The model that is trained.
            next_epoch: The epoch with which a retry begins. Default: the one after the latest.
        """
        begins = ledger.now.rows[-1]["epoch"] + 1 if next_epoch is None else next_epoch
        # Of several fits, only the first one is backed up: the weights of a later one come from the
        # fits before it, so it cannot be resumed.
        goes_on = ledger.ending in (Ending.OPEN, Ending.CUT_OFF) and len(ledger.now.starts) <= 1
        if goes_on and (requested() or time.monotonic() - self._saved >= self._every):
            self._archive.back_up(ledger, lambda: self._written(model, begins))
            self._saved = time.monotonic()

    def _written(self, model: keras.Model, next_epoch: int) -> dict[str, Any]:
        """Write the model to the folder, and return what else a resumed training needs of it."""
        size = sum(one.nbytes for one in model.get_weights())
        with telling_room(tempfile.gettempdir(), 4 * size):
            write_arrays(self._path(_NOW), variables_of(model))
            write_arrays(self._path(_OPTIMIZERS), _variables_of_optimizers(model))
            # The state of the best epoch is saved too, if it differs from the model's own.
            self._path(_BEST).unlink(missing_ok=True)
            now = map(keras.ops.convert_to_numpy, variables_of(model))
            best = self._best.state
            if best is not None and not all(map(np.array_equal, best, now)):
                write_arrays(self._path(_BEST), best)
        chance, shapes = generators(), model.get_build_config()
        return {"chance": chance, "shapes": shapes, "next_epoch": next_epoch}

    def _path(self, name: str) -> Path:
        return self._archive.folder / name


class BackupOfOwnFit(Backup):
    """Back up a builder's own fit, and its end too, in which a callback may restore weights."""

    def epoch(self, ledger: Ledger, model: keras.Model, *, next_epoch: int | None = None) -> None:
        """Back up an epoch, except the last one of a fit, which `end` backs up."""
        if next_epoch is not None or not ledger.is_last:
            super().epoch(ledger, model, next_epoch=next_epoch)

    def end(self, ledger: Ledger, model: keras.Model) -> None:
        """Back up the end of the fit, after which a retry trains no more epochs of it."""
        if ledger.is_open and ledger.now.rows:
            self.epoch(ledger, model, next_epoch=int(ledger.until))


def _variables_of_optimizers(model: keras.Model) -> list[keras.Variable]:
    return [variable for one in optimizers(model) for variable in one.variables]
