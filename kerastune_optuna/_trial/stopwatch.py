"""The callback that measures a training, and ends it once it took too long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from kerastune_optuna._trial.callbacks import PruningCallback


class Stopwatch(keras.callbacks.Callback):
    """Measure the seconds of a training, over all processes that it was resumed in.

    Args:
        pruning: The trial's PruningCallback, after this one in the list.
        limit: Seconds after which the training ends with the next batch; None for no limit.
        before: Seconds that earlier trainings of the trial took, which count for the limit.
    """

    # Without this, Keras waits for each batch, to read its logs from the device.
    async_safe = True

    def __init__(
        self, pruning: PruningCallback, limit: float | None = None, before: float = 0.0
    ) -> None:
        super().__init__()
        self._pruning = pruning
        self._limit = limit
        self._before = before
        self._began = time.monotonic()
        self.seconds = 0.0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Start, or go on where a builder's own fit trains once more."""
        if not self.seconds:
            self._began = time.monotonic()

    def resume(self, seconds: float) -> None:
        """Go on from the time that an earlier process took."""
        self._began -= seconds

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Leave an epoch that takes too long."""
        self._look()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Leave a training that takes too long."""
        self._look()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Take the time a last time."""
        self._look()

    def _look(self) -> None:
        self.seconds = time.monotonic() - self._began
        total = self._before + self.seconds
        if self._limit is not None and total > self._limit:
            self._pruning.end(f"max_seconds_per_trial: {total:.4g} > {self._limit:g}")
