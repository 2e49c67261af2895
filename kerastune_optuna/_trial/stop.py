"""Callbacks that stop a training within an epoch: after a signal, or when it takes too long."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras

from kerastune_optuna._signals import requested
from kerastune_optuna._study import Ending
from kerastune_optuna._trial.callbacks import PruningCallback

SOON = 2.0  # seconds that a training may go on after a signal to finish its epoch


class StopOnRequest(keras.callbacks.Callback):
    """Leave an epoch after a signal asked the search to end, unless the epoch ends soon anyway.

    Args:
        leave: Called when the epoch is left, which then does not count.
    """

    # Otherwise Keras waits for each batch to read its logs from the device.
    async_safe = True

    def __init__(self, leave: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._leave = leave
        self._began = time.monotonic()
        self._lasts = float("inf")
        self._until: float | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Reset the expected length of an epoch, which an earlier training has set."""
        self._lasts = float("inf")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start to time the epoch."""
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Leave the epoch if a signal asked the search to end and the epoch's end is not near."""
        if self._is_to_leave():
            self._leave()
            self.model.stop_training = True

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Leave the validation, which Keras starts even after an epoch that was left."""
        self.on_train_batch_end(batch)
        if self._is_to_leave():
            self.model.stop_evaluating = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Expect the next epoch to last as long as this one."""
        now = time.monotonic()
        self._lasts, self._began = now - self._began, now

    def _is_to_leave(self) -> bool:
        if not requested():
            return False
        now = time.monotonic()
        if self._until is None:
            is_near = self._began + self._lasts < now + SOON
            self._until = now + SOON if is_near else now
        return now >= self._until


class Stopwatch(keras.callbacks.Callback):
    """Measure the seconds of a training, in all processes that ran it.

    Args:
        pruning: The trial's PruningCallback, after this one in the list.
        limit: Seconds after which the training stops at the next batch; None for no limit.
        before: Seconds that earlier trainings of the trial took, which count towards the limit.
    """

    # Otherwise Keras waits for each batch to read its logs from the device.
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
        """Start the watch; keep it running if a builder's own fit trains again."""
        if not self.seconds:
            self._began = time.monotonic()

    def resume(self, seconds: float) -> None:
        """Add the seconds that an earlier process took."""
        self._began -= seconds

    def _look(self, *_: Any, **__: Any) -> None:
        """Update the time, and stop a training that takes too long."""
        self.seconds = time.monotonic() - self._began
        total = self._before + self.seconds
        if self._limit is not None and total > self._limit:
            why = f"max_seconds_per_trial: {total:.4g} > {self._limit:g}"
            self._pruning.end(Ending.OVER_LIMIT, why)

    on_train_batch_end = on_epoch_end = on_train_end = _look
