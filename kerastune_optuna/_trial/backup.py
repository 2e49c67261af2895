"""Backups of a running trial, so that its retry continues from the last backup."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import begin_at, generators, set_generators
from kerastune_optuna._data import FitArguments, to_plain
from kerastune_optuna._signals import requested
from kerastune_optuna._storage import telling_room
from kerastune_optuna._study import Ending
from kerastune_optuna._trial import state as _state
from kerastune_optuna._trial.archive import Archive
from kerastune_optuna._trial.bridge import Hook
from kerastune_optuna._trial.hooks import Best
from kerastune_optuna._trial.ledger import Ledger, Training
from kerastune_optuna._trial.variables import (
    build_optimizer,
    lacks_variables,
    make_again,
    optimizers,
)

_NOW, _BEST, _OPTIMIZERS = "now.npz", "best.npz", "optimizers.npz"


class UnfitBackupError(Exception):
    """Signal that a backup does not fit the model, as when the builder has changed."""


class Backup(Hook):
    """Back up a training at intervals, and restore the last backup of an earlier process.

    A backup holds the ledger, the current variables, including the optimizer's, and the weights of
    the best epoch. Of a builder's own fits, only the first one is backed up: the weights of a later
    one come from the fits before it, so it cannot be resumed.

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
        saved = _state.read(self._path(_OPTIMIZERS))
        # Optimizers that only the model's own steps use may not be built yet. The file then has
        # more arrays, zip() raises, and the trial starts over.
        for variable, value in zip(_variables_of_optimizers(model), saved, strict=True):
            variable.assign(value)
        now, best = _state.read(self._path(_NOW)), self._path(_BEST)
        if training.best_epoch is not None:
            self._best.state = _state.read(best) if best.exists() else now
        _state.give_back(model, now)
        begin_at(model, state["next_epoch"])
        self._fit.skip(len(training.rows))
        set_generators(state["chance"])

    def epoch(self, ledger: Ledger, model: keras.Model) -> None:
        """Back up an epoch, except the last one of a builder's own fit, which `end` backs up."""
        if not (ledger.is_open_ended and ledger.is_last):
            self._back_up(ledger, model, ledger.now.last_epoch + 1)

    def end(self, ledger: Ledger, model: keras.Model) -> None:
        """Back up the end of a builder's own first fit, in which a callback may restore weights."""
        if ledger.is_open_ended and ledger.is_open and ledger.now.rows:
            self._back_up(ledger, model, int(ledger.until))

    def _back_up(self, ledger: Ledger, model: keras.Model, next_epoch: int) -> None:
        """Back up if a backup is due or a signal asked the search to end.

        Args:
            ledger: The ledger.
            model: The model that is trained.
            next_epoch: The epoch with which a retry begins.
        """
        # Of several fits, only the first one is backed up.
        goes_on = ledger.ending in (Ending.OPEN, Ending.CUT_OFF) and len(ledger.now.starts) <= 1
        if goes_on and (requested() or time.monotonic() - self._saved >= self._every):
            self._archive.back_up(ledger, lambda: self._written(model, next_epoch))
            self._saved = time.monotonic()

    def _written(self, model: keras.Model, next_epoch: int) -> dict[str, Any]:
        """Write the model to the folder, and return what else a resumed training needs of it."""
        with telling_room(tempfile.gettempdir(), 4 * _state.size_of(model)):
            _state.write(self._path(_NOW), _state.variables_of(model))
            _state.write(self._path(_OPTIMIZERS), _variables_of_optimizers(model))
            # The state of the best epoch is saved too, if it differs from the model's own.
            self._path(_BEST).unlink(missing_ok=True)
            now = map(keras.ops.convert_to_numpy, _state.variables_of(model))
            best = self._best.state
            if best is not None and not all(map(np.array_equal, best, now)):
                _state.write(self._path(_BEST), best)
        chance, shapes = generators(), model.get_build_config()
        return {"chance": chance, "shapes": shapes, "next_epoch": next_epoch}

    def _path(self, name: str) -> Path:
        return self._archive.folder / name


def _variables_of_optimizers(model: keras.Model) -> list[keras.Variable]:
    return [variable for one in optimizers(model) for variable in one.variables]
