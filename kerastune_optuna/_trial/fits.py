"""The fits of one training if a builder trains in phases: they form one learning curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras

from kerastune_optuna._backend import begin_at
from kerastune_optuna._trial.history import EpochLogs


class TrainingOver(BaseException):
    """Leave a builder's own fit when its training has ended before its last phase.

    Like asyncio's CancelledError, it does not inherit from Exception, so that an `except Exception`
    around a phase does not catch it.
    """


def gate(begin_fit: Callable[[], None]) -> keras.callbacks.Callback:
    """Return a callback that prevents further fits once the training is over.

    Keras reads `stop_training` only after a batch, and resets it when a fit begins. The gate comes
    before all other callbacks, so that none of them is called for a fit that does not begin.

    Args:
        begin_fit: Called when a fit begins; raises TrainingOver if the training is over.
    """
    return keras.callbacks.LambdaCallback(on_train_begin=lambda logs=None: begin_fit())


class Fits(keras.callbacks.Callback):
    """Present all fits of a training to callbacks as a single fit.

    The epochs are numbered consecutively over all fits, however Keras or `initial_epoch=` numbers
    them. The training begins with the first fit and ends with `end()`, since no fit shows whether
    another follows.

    Args:
        logs: The EpochLogs of the training, which must be among the callbacks.
        callbacks: The callbacks that see a single fit.
        of_first: The callbacks that see only the first fit, and its end. Backups are such callbacks
            because a later fit cannot be resumed: its weights come from the fits before it.
    """

    def __init__(
        self,
        logs: EpochLogs,
        callbacks: Sequence[keras.callbacks.Callback],
        of_first: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        super().__init__()
        self.history: keras.callbacks.History | None = None  # that of the last fit that ended
        self._logs = logs
        self._callbacks = callbacks
        self._of_first = of_first
        self._seeing = [*callbacks, *of_first]
        self._starts: list[int] = []  # how many epochs there were before each fit
        self._shift = 0
        self._begins = False
        self._is_resumed = False

    @property
    def lengths(self) -> list[int]:
        """How many epochs each fit had."""
        return [end - start for start, end in pairwise([*self._starts, len(self._logs.rows)])]

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Pass on the parameters of the first fit; `on_epoch_end` passes on those of later fits."""
        super().set_params(params)
        if not self._starts:
            self._pass_on("set_params", params)

    def _pass_on(self, hook: str, *given: Any) -> None:
        for one in self._seeing:
            getattr(one, hook)(*given)

    def set_model(self, model: keras.Model) -> None:
        """Pass on which model is trained."""
        super().set_model(model)
        self._pass_on("set_model", model)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin the training with its first fit."""
        self._begins = True
        if self._starts:
            self._seeing = list(self._callbacks)
            self._starts.append(len(self._logs.rows))
            # If a backup resumed the first fit, Keras would begin this fit at the same epoch too.
            begin_at(self.model, None)
            return
        self._starts.append(0)
        self._pass_on("on_train_begin", logs)
        self._is_resumed = bool(self._logs.rows)

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Pass on that an epoch is validated."""
        self._pass_on("on_test_begin", logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Pass on the epoch, with its number in the whole training."""
        rows = self._logs.rows
        if rows and (self._begins or epoch + self._shift <= rows[-1]["epoch"]):
            self._shift = rows[-1]["epoch"] + 1 - epoch
            params = self.params or {}
            epochs = params.get("epochs", 0) + self._shift
            self._pass_on("set_params", {**params, "epochs": epochs})
        self._begins = False
        self._pass_on("on_epoch_end", epoch + self._shift, logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the first fit for the callbacks that see only that one."""
        self.history = getattr(self.model, "history", None)
        if len(self._starts) > 1:
            return
        if self._is_resumed and self.history is not None:
            _tell_all(self.history, self._logs.rows)
        for one in self._of_first:
            one.on_train_end(logs)

    def end(self) -> None:
        """End the training."""
        for one in self._callbacks:
            one.on_train_end()


def _tell_all(history: keras.callbacks.History, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all epochs to a History, including those that an earlier process trained."""
    history.epoch, history.history = [], {}
    for row in rows:
        logs = dict(row)
        history.on_epoch_end(logs.pop("epoch"), logs)
