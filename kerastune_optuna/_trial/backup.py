"""Backups of a running trial, so that its retry continues from the last backup."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import begin_at, generators, set_generators
from kerastune_optuna._data import FitArguments, to_plain
from kerastune_optuna._signals import requested
from kerastune_optuna._storage import telling_room
from kerastune_optuna._trial import state as _state
from kerastune_optuna._trial.archive import Archive, state_in
from kerastune_optuna._trial.callbacks import BestWeights, PruningCallback
from kerastune_optuna._trial.custom_fit import OwnPruning
from kerastune_optuna._trial.history import EpochLogs
from kerastune_optuna._trial.stop import Stopwatch
from kerastune_optuna._trial.trainings import Series
from kerastune_optuna._trial.variables import (
    build_optimizer,
    lacks_variables,
    make_again,
    optimizers,
)

_NOW, _BEST, _OPTIMIZERS = "now.npz", "best.npz", "optimizers.npz"


class UnfitBackupError(Exception):
    """Signal that a backup does not fit the model, as when the builder has changed."""


@dataclass(eq=False)
class Backup(keras.callbacks.Callback):
    """Back up a trial at intervals, and restore the last backup of an earlier process.

    A backup holds the current variables, including the optimizer's, the weights of the best epoch,
    the reports, the logs, and the results of the trainings that ended before.

    Args:
        archive: The archive of the trial's backups, whose folder holds the last one, unpacked.
        series: The trainings of the trial.
        pruning: The trial's PruningCallback, before this one in the list.
        best: The trial's BestWeights, before this one in the list.
        logs: The trial's EpochLogs, before this one in the list.
        watch: The trial's Stopwatch, before this one in the list.
        every: The least number of seconds between two backups.
        fit: The data that the model is trained on.
    """

    archive: Archive
    series: Series
    pruning: PruningCallback
    best: BestWeights
    logs: EpochLogs
    watch: Stopwatch
    every: float
    fit: FitArguments

    def __post_init__(self) -> None:
        super().__init__()
        self._saved = time.monotonic()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restore the last backup if it was made during this training."""
        self._saved = time.monotonic()
        state = state_in(self.archive.folder)
        if state is None:
            return
        if "logs" not in state or len(state["series"]["values"]) != self.series.number:
            self.pruning.report_again(state)  # it was made before this training began
            return
        try:
            self._restore(state)
        except MemoryError:
            raise  # this does not show that the backup does not fit
        except Exception as error:  # Keras raises many kinds of errors for weights that do not fit
            raise UnfitBackupError from error
        self.pruning.resume(state)
        self.logs.rows = state["logs"]
        self.watch.resume(state["seconds"])

    def _restore(self, state: Mapping[str, Any]) -> None:
        if lacks_variables(self.model):
            batch = to_plain(self.fit.specification_of_a_batch())
            make_again(self.model, {"shapes": state["shapes"], "batch": batch})
        self._restore_optimizers()
        now = _state.read(self._path(_NOW))
        if state["best_epoch"] is not None:
            best = self._path(_BEST)
            self.best.state = _state.read(best) if best.exists() else now
        _state.give_back(self.model, now)
        begin_at(self.model, state["next_epoch"])
        self.fit.skip(state["epochs_run"])
        set_generators(state["chance"])

    def _restore_optimizers(self) -> None:
        build_optimizer(self.model)
        saved = _state.read(self._path(_OPTIMIZERS))
        # Only the model's own steps know which variables other optimizers are for. If one is not
        # built yet, the numbers of variables differ, zip() raises, and the trial starts over.
        for variable, value in zip(_variables_of_optimizers(self.model), saved, strict=True):
            variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Back up an epoch, unless it was left early."""
        if self.pruning.last_epoch == epoch:
            self._back_up(epoch + 1)

    def _back_up(self, next_epoch: int) -> None:
        """Back up if a backup is due or a signal asked the search to end.

        Args:
            next_epoch: The epoch with which a retry begins.
        """
        if requested() or time.monotonic() - self._saved >= self.every:
            self.archive.back_up(lambda: {**self._written(), "next_epoch": next_epoch})
            self._saved = time.monotonic()

    def _written(self) -> dict[str, Any]:
        """Write the model to the folder, and return what else a resumed training needs."""
        with telling_room(tempfile.gettempdir(), 4 * _state.size_of(self.model)):
            _state.write(self._path(_NOW), _state.variables_of(self.model))
            _state.write(self._path(_OPTIMIZERS), _variables_of_optimizers(self.model))
            self._save_best()
        return {
            "chance": generators(),
            **self.pruning.state(),
            "logs": self.logs.rows,
            "seconds": self.watch.seconds,
            "shapes": self.model.get_build_config(),
            "series": self.series.state(),
        }

    def _save_best(self) -> None:
        """Save the state of the best epoch too, if it differs from the model's current state."""
        self._path(_BEST).unlink(missing_ok=True)
        now = map(keras.ops.convert_to_numpy, _state.variables_of(self.model))
        if not all(map(np.array_equal, self.best.state or (), now)):
            _state.write(self._path(_BEST), self.best.best_or_last())

    def _path(self, name: str) -> Path:
        return self.archive.folder / name


class BackupOfFits(Backup):
    """Back up the first fit of a builder's own training, so that a retry need not repeat it."""

    pruning: OwnPruning

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Back up all epochs but the last: EarlyStopping may restore weights at the end."""
        if self.pruning.cut_off or not self.pruning.is_last(epoch):
            super().on_epoch_end(epoch)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Back up the end of the fit, even if a callback stopped it early."""
        if self.pruning.epochs_run and not self.pruning.is_over:
            self._back_up(self.params["epochs"])


def _variables_of_optimizers(model: keras.Model) -> list[keras.Variable]:
    return [variable for one in optimizers(model) for variable in one.variables]
