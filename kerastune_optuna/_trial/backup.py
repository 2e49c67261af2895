"""Backups of a running trial: what is in one, and the archive that always has an intact one."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import UpdateFinishedTrialError

from kerastune_optuna import _digest
from kerastune_optuna._backend import begin_at, generators, set_generators, strategy_of
from kerastune_optuna._data import FitArguments, skip_datasets, to_plain, why_not_resumed
from kerastune_optuna._exceptions import WeightsError
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
from kerastune_optuna._study import Card, Ending, TrialFiles, TrialRecord
from kerastune_optuna._trial.bridge import Hook
from kerastune_optuna._trial.hooks import Best
from kerastune_optuna._trial.ledger import Ledger, Training
from kerastune_optuna._trial.variables import (
    State,
    build_optimizer,
    give_back,
    lacks_variables,
    make_again,
    optimizers,
    read_arrays,
    variables_of,
    write_arrays,
)

# The parts of a backup: the model's variables now and at its best epoch, those of its optimizers,
# the weights of the best training that ended, and what JSON represents, as a text.
_NOW, _BEST, _OPTIMIZERS = "now", "best", "optimizers"
_OF_BEST, _STATE = "best_training", "state"

Parts: TypeAlias = Mapping[str, Sequence[keras.Variable | NDArray[Any]]]


@dataclass
class Archive:
    """Keep the backups of a trial in the store, each as one file under a new name.

    The name of a new file is recorded in the trial before the file is written, and the previous
    file is removed only once the new one is complete. So if the process dies in between, an intact
    backup remains.

    Args:
        trial: The trial that is trained; it may be the retry of another.
        store: The store in which weights are kept.
        folder: The folder in which a backup lies before it is put into the store, and when it was
            fetched.
        card: The card of the search. A backup from a search with other data, epochs or arguments
            is not used, since a trial with a mixture of both would not be comparable.
    """

    trial: optuna.Trial
    store: PatientStore
    folder: Path
    card: Card
    error: WeightsError | None = None
    state: Mapping[str, Any] = field(default_factory=dict)  # of the backup that was fetched
    # The file name of a backup that is not complete yet, so that the next attempt after a failure
    # overwrites an incomplete file.
    _name: str = ""
    _record: Mapping[str, Any] | None = None
    _has_told: bool = False  # whether the user was told that the store is away

    def open(self, ledger: Ledger, record: Mapping[str, Any]) -> None:
        """Fetch the last intact backup that the trial has on record; resume the ledger from it."""
        self._record, why = record, "its backup is lost or damaged"
        if any(fetch(self.store, one, self._path) for one in TrialFiles.backups(record)):
            self.state = json.loads(str(self.read(_STATE)[0]))
            before = Card.all_of(self.trial.study).get(self.state["card"], Card())
            if not (changes := before.changes_for_a_trial(self.card)):
                ledger.resume(self.state["ledger"], self.read(_OF_BEST) or None)
                return
            why = "; ".join(changes)
        print_line(f"Trial {self.trial.number} starts over: {why}")

    def read(self, part: str) -> State:
        """Return a part of the backup that was fetched; nothing if the backup lacks it."""
        return read_arrays(self._path, part)

    @property
    def _path(self) -> Path:
        return self.folder / "backup.npz"

    def back_up(
        self, ledger: Ledger, take: Callable[[], tuple[Parts, Mapping[str, Any]]] | None = None
    ) -> None:
        """Put the ledger, and what it takes to resume the training that runs, into the store.

        After an error, no further backups are made; the error is kept until the trial has a result.

        Args:
            ledger: The ledger.
            take: Returns the parts that the backup has of the model, and what else a resumed
                training needs. Default: nothing, so that a retry begins with the next training.
        """
        if self.error is not None:
            return
        try:
            with finishing():
                of_model, others = ({}, {}) if take is None else take()
                state = {"card": self.card.key, "ledger": ledger.state(), "model": others}
                text = np.array(json.dumps(state))
                parts = {**of_model, _OF_BEST: ledger.state_of_best or [], _STATE: [text]}
                n_numbers = sum(math.prod(one.shape) for part in parts.values() for one in part)
                with telling_room(str(self.folder), 4 * n_numbers):
                    write_arrays(self._path, parts)
                n_epochs = sum(len(one.rows) for one in [*ledger.past, ledger.now])
                self._put(n_epochs + ledger.number)
        except Exception as error:  # the user's layers and stores may raise anything
            self.error = WeightsError(
                f"Trial {self.trial.number} could not be backed up: {type(error).__name__}: "
                f"{error}. Its result is kept. Free disk space, fix the layer or the store, or "
                "pass backup_every=None."
            )

    def _put(self, done: int) -> None:
        """Put the backup into the store, after recording its name in the trial.

        Args:
            done: How many epochs and trainings it holds, by which a retry sees progress.
        """
        last = self._record
        self._name = self._name or f"{uuid.uuid4()}.backup"
        record = {
            "id": self._name,
            "sha256": _digest.of_file(self._path),
            "previous": last,
            "done": done,
        }
        is_known = False
        # If another process runs the trial, the next report raises the suppressed error again.
        with unless_away(), suppress(UpdateFinishedTrialError):
            TrialRecord(self.trial).backup = record
            is_known = True
        if not (is_known and self._upload()):
            return  # the storage or the store is away, so the last backup remains valid
        self._record, self._name = record, ""
        with one_try(), suppress(Exception):  # the next backup removes what is left
            self.store.remove(*(one["id"] for one in TrialFiles.backups(last)))
            self._record = {**record, "previous": None}

    def _upload(self) -> bool:
        """Put the backup into the store; if the store is away, tell the user once and return False.

        A training that continues does not wait for the store, since its next backup tries again. A
        training that a signal stops has no next backup, so it waits.
        """
        try:
            with nullcontext() if requested() else one_try():
                self.store.put(self._name, self._path)
        except Exception as error:  # a store may raise anything
            if not may_pass(error):
                raise
            if not self._has_told:
                number = self.trial.number
                print_line(f"Trial {number} could not be backed up and continues: {reason(error)}")
            self._has_told = True
            return False
        return True


def fetch(store: PatientStore, record: Mapping[str, Any], path: Path) -> bool:
    """Fetch a backup that a trial has on record; False if it is missing or damaged."""
    try:
        is_there = store.fetch(record["id"], path)
    except Exception as error:  # stores have no common base class for their errors
        if is_of_full_disk(error):
            raise  # of the folder: the backup may be intact
        return False  # the caller informs the user
    return is_there and _digest.of_file(path) == record["sha256"]


class UnfitBackupError(Exception):
    """Signal that a backup does not fit the model, as when the builder has changed."""


class Backup(Hook):
    """Back up a training at intervals, and restore the last backup of an earlier process.

    A backup holds the ledger, the current variables, including the optimizer's, and the weights of
    the best epoch.

    Args:
        archive: The archive of the trial's backups, which has fetched the last one.
        best: The hook that holds the weights of the best epoch.
        every: The least number of seconds between two backups.
        fit: The data that the model is trained on. If it could not be read from where an epoch of a
            training ended, no training is backed up, and the user is told so.
    """

    def __init__(self, archive: Archive, best: Best, every: float, fit: FitArguments) -> None:
        self._archive, self._best, self._every, self._fit = archive, best, every, fit
        self._saved = time.monotonic()

    def begin(self, ledger: Ledger, model: keras.Model) -> None:
        """Restore the last backup if it was made during this training."""
        self._saved = time.monotonic()
        if ledger.backed_up is None:
            return
        if not self._can_be_resumed(model):  # unlike when it was backed up
            raise UnfitBackupError
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
        saved = self._archive.read(_OPTIMIZERS)
        # Optimizers that only the model's own steps use may not be built yet. The backup then
        # has more arrays, zip() raises, and the trial starts over.
        for variable, value in zip(_variables_of_optimizers(model), saved, strict=True):
            variable.assign(value)
        now = self._archive.read(_NOW)
        if training.best_epoch is not None:
            self._best.state = self._archive.read(_BEST) or now
        give_back(model, now)
        begin_at(model, state["next_epoch"])
        skip_datasets(self._fit, len(training.rows))
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
            if self._can_be_resumed(model):
                self._archive.back_up(ledger, lambda: self._parts_of(model, begins))
            self._saved = time.monotonic()

    def _can_be_resumed(self, model: keras.Model) -> bool:
        """Whether the data can be read from where an epoch ended; if not, tell the user once."""
        why = why_not_resumed(self._fit, is_distributed=strategy_of(model) is not None)
        if why is not None:
            _tell_once(f"A training that is interrupted begins anew: {why}")
        return why is None

    def _parts_of(self, model: keras.Model, next_epoch: int) -> tuple[Parts, Mapping[str, Any]]:
        """Return what a backup has of the model, and what else a resumed training needs of it."""
        best = self._best.state or []
        now = map(keras.ops.convert_to_numpy, variables_of(model))
        # The state of the best epoch is saved too, if it differs from the model's own.
        differs = not all(map(np.array_equal, best, now))
        parts: Parts = {
            _NOW: variables_of(model),
            _BEST: best if differs else [],
            _OPTIMIZERS: _variables_of_optimizers(model),
        }
        others = {"chance": generators(), "shapes": model.get_build_config()}
        return parts, {**others, "next_epoch": next_epoch}


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


@lru_cache
def _tell_once(line: str) -> None:
    """Print a line once in a process, whichever trials it is about."""
    print_line(line)


def _variables_of_optimizers(model: keras.Model) -> list[keras.Variable]:
    return [variable for one in optimizers(model) for variable in one.variables]
