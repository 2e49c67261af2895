"""The callback that ends a training at the next batch once a signal has asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from kerastune_optuna._interrupt import requested


class StopOnRequest(keras.callbacks.Callback):
    """End a training at the next batch once a signal has asked for it."""

    # Keras reads the logs of each batch from the device for callbacks that do not say so.
    async_safe = True

    def __init__(self, is_requested: Callable[[], bool] = requested) -> None:
        super().__init__()
        self._is_requested = is_requested
        self.stopped = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Forget an earlier training."""
        self.stopped = False

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Leave the epoch."""
        self._look()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Leave the validation, which Keras starts even for an epoch that was left."""
        self._look()
        if self.stopped:
            self.model.stop_evaluating = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Leave the training, and take the epoch for unfinished."""
        self._look()

    def _look(self) -> None:
        if self._is_requested():
            self.stopped = True
            self.model.stop_training = True
