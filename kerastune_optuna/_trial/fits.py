"""The fits of one training, where a builder trains in phases: one curve with one end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras

from kerastune_optuna._backend import begin_at
from kerastune_optuna._trial.history import EpochLogs


class TrainingOver(BaseException):
    """Leave a builder's own fit whose training has ended before the last of its phases.

    Like asyncio's CancelledError, it is no Exception, so that an `except Exception` around a phase
    does not take it for an error of that phase.
    """


def gate(begin_fit: Callable[[], None]) -> keras.callbacks.Callback:
    """Return a callback that lets no further fit begin once the training is over.

    Keras looks at `stop_training` only after a batch, and forgets it when a fit begins. The gate
    comes before all other callbacks, so that none of them hears of a fit that does not begin.

    Args:
        begin_fit: Called as a fit begins; it raises TrainingOver where none may.
    """
    return keras.callbacks.LambdaCallback(on_train_begin=lambda logs=None: begin_fit())


class Fits(keras.callbacks.Callback):
    """Show callbacks all fits of a training as a single one.

    Epochs count on from one fit to the next, however Keras or `initial_epoch=` numbers them. The
    training begins with the first fit and ends by `end()`: no fit tells whether another follows.

    Args:
        logs: The logs of the training, which is among the callbacks.
        callbacks: The callbacks that see a single fit.
        of_first: The callbacks that see the first fit alone, and its end. A backup is one: a later
            fit cannot be resumed alone, since its weights come from the fits before it.
    """

    def __init__(
        self,
        logs: EpochLogs,
        callbacks: Sequence[keras.callbacks.Callback],
        of_first: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        super().__init__()
        self.history: keras.callbacks.History | None = None  # of the last fit that ended
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
        """Pass on the parameters of the first fit; those of a later one come with its epochs."""
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
            # Where a backup resumed the first fit, Keras would begin this one at that epoch too.
            begin_at(self.model, None)
            return
        self._starts.append(0)
        self._pass_on("on_train_begin", logs)
        self._is_resumed = bool(self._logs.rows)

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Pass on that an epoch is validated."""
        self._pass_on("on_test_begin", logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Pass on the epoch, under its number in the whole training."""
        rows = self._logs.rows
        if rows and (self._begins or epoch + self._shift <= rows[-1]["epoch"]):
            self._shift = rows[-1]["epoch"] + 1 - epoch
            params = self.params or {}
            epochs = params.get("epochs", 0) + self._shift
            self._pass_on("set_params", {**params, "epochs": epochs})
        self._begins = False
        self._pass_on("on_epoch_end", epoch + self._shift, logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Wait for another fit, or for the end."""
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
    """Write all epochs into a History, those that an earlier process trained too."""
    history.epoch, history.history = [], {}
    for row in rows:
        logs = dict(row)
        history.on_epoch_end(logs.pop("epoch"), logs)
