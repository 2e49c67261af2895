"""The bridge from Keras to a trial: one callback that keeps the ledger and calls the hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras

from kerastune_optuna._backend import begin_at
from kerastune_optuna._exceptions import BuilderError
from kerastune_optuna._signals import requested
from kerastune_optuna._study import Ending
from kerastune_optuna._trial.ledger import Ledger

Logs: TypeAlias = Mapping[str, Any] | None

# The moments at which only some hooks act. All of them act after an epoch.
_MOMENTS = ("begin", "end", "batch", "before_validation", "validated")


class TrainingOver(BaseException):
    """Leave a fit that would begin after its training is over.

    Like asyncio's CancelledError, it does not inherit from Exception, so that an `except Exception`
    around a phase does not catch it.
    """


class Hook:
    """Act on a training at the moments that the bridge tells; by default, do nothing.

    A hook ends the training by `ledger.stop()`, `fail()` or `diverge()`, not by an exception. The
    bridge calls it only at the moments for which it has a method of its own.
    """

    def begin(self, ledger: Ledger, model: keras.Model) -> None:
        """Act before the first epoch of the training in this process."""

    def epoch(self, ledger: Ledger, model: keras.Model) -> None:
        """Act after an epoch, which is the last row of the ledger's training."""

    def end(self, ledger: Ledger, model: keras.Model) -> None:
        """Act at the end of a fit; if a builder's own fit trains, another one may follow."""

    def batch(self, ledger: Ledger) -> None:
        """Act after a batch of training or validation."""

    def before_validation(self) -> None:
        """Act before an epoch is validated."""

    def validated(self, ledger: Ledger, logs: Mapping[str, Any]) -> None:
        """Act after a validation, before the user's callbacks, which may change the weights."""


class Bridge(keras.callbacks.Callback):
    """Number the epochs of a training, take their logs into its ledger, and call its hooks.

    All fits of a builder's own training are one training here: their epochs are numbered
    consecutively, however Keras or `initial_epoch=` numbers them.

    Args:
        ledger: The ledger of the trial.
        hooks: What acts on the training, in this order.
        model: The model of the trial; None if any model may be trained.
        epochs: The first epoch that is not trained, if the fit does not tell it in its params.
    """

    # Otherwise Keras waits for each batch to read its logs from the device.
    async_safe = True

    def __init__(
        self,
        ledger: Ledger,
        hooks: Sequence[Hook],
        model: keras.Model | None = None,
        epochs: float = float("inf"),
    ) -> None:
        super().__init__()
        self._ledger, self._hooks, self._model_of_trial, self._epochs = ledger, hooks, model, epochs
        # What the hooks do at each moment, found once, since a training has many batches.
        self._acts = {
            moment: [
                getattr(hook, moment)
                for hook in hooks
                if getattr(type(hook), moment) is not getattr(Hook, moment)
            ]
            for moment in _MOMENTS
        }
        self._n_fits = 0  # that began in this process
        self._offset = 0  # what is added to the number of an epoch in its fit
        self._is_new = False  # whether the fit has had no epoch yet
        self._is_resumed = False  # whether an earlier process trained some of the epochs
        self.history: keras.callbacks.History | None = None  # that of the last fit that ended

    def refuse_if_over(self, logs: Logs = None) -> None:
        """Prevent a fit from beginning if the training is over or a signal asked for its end.

        Keras reads `stop_training` only after a batch, and resets it when a fit begins.

        Raises:
            TrainingOver: The training is over.
        """
        if self._ledger.is_open and requested():
            self._ledger.stop(Ending.CUT_OFF, "a signal")
        if not self._ledger.is_open:
            raise TrainingOver
        if not self._n_fits:
            self._ledger.start_clock()

    def on_train_begin(self, logs: Logs = None) -> None:
        """Begin the training with its first fit."""
        self._is_new = True
        self._n_fits += 1
        ledger = self._ledger
        if self._n_fits == 1:
            ledger.until = self._epochs_of_fit
            for act in self._acts["begin"]:
                act(ledger, self.model)
            self._is_resumed, ledger.now.starts = bool(ledger.now.rows), [0]
        else:
            ledger.now.starts.append(len(ledger.now.rows))
            # If a backup resumed the first fit, Keras would begin this fit at the same epoch too.
            begin_at(self.model, None)

    def on_test_begin(self, logs: Logs = None) -> None:
        """Tell the hooks that an epoch is validated."""
        for act in self._acts["before_validation"]:
            act()

    def validated(self, logs: Logs = None) -> None:
        """Tell the hooks that an epoch was validated, before the user's callbacks act on that."""
        for act in self._acts["validated"]:
            act(self._ledger, logs or {})

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Call the hooks, which may leave the epoch."""
        for act in self._acts["batch"]:
            act(self._ledger)
        if not self._ledger.is_open:
            self.model.stop_training = True

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Leave the validation too, which Keras starts even after an epoch that was left."""
        self.on_train_batch_end(batch)
        if self._ledger.ending is Ending.CUT_OFF:
            self.model.stop_evaluating = True

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Take the logs of the epoch and call the hooks, of which any may end the training."""
        ledger, rows = self._ledger, self._ledger.now.rows
        if ledger.ending is Ending.CUT_OFF:
            return  # Keras calls this even for an epoch that was left after one of its batches
        # A second fit counts from 0 again, or repeats the last epoch, as Keras's tutorials do.
        if rows and (self._is_new or epoch + self._offset <= rows[-1]["epoch"]):
            self._offset = rows[-1]["epoch"] + 1 - epoch
        self._is_new = False
        ledger.until = self._epochs_of_fit + self._offset
        # A model with a fit of its own may lack the attribute.
        ledger.is_stopped = bool(getattr(self.model, "stop_training", False))
        ledger.is_last = ledger.is_stopped or epoch + 1 >= self._epochs_of_fit
        own = self._model_of_trial
        is_other = own is not None and own is not self.model
        if is_other and (error := self._error_of_other_model(own, logs or {})) is not None:
            ledger.fail(error)
        else:
            ledger.take(int(epoch + self._offset), logs or {})
            for hook in self._hooks:
                hook.epoch(ledger, self.model)
        if not ledger.is_open:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        """End a fit."""
        for act in self._acts["end"]:
            act(self._ledger, self.model)
        self.history = history = getattr(self.model, "history", None)
        if self._n_fits == 1 and self._is_resumed and history is not None:
            # The user's code is to find the epochs that an earlier process trained in it, too.
            history.epoch, history.history = [], {}
            for row in self._ledger.now.rows:
                of_epoch = dict(row)
                history.on_epoch_end(of_epoch.pop("epoch"), of_epoch)

    @property
    def _epochs_of_fit(self) -> float:
        """The epoch before which the fit ends, in its own numbering; a user's fit may not tell."""
        return float((self.params or {}).get("epochs", self._epochs))

    def _error_of_other_model(
        self, own: keras.Model, logs: Mapping[str, Any]
    ) -> BuilderError | None:
        """Return an error if a model logs the objective that is not, nor contains, the trial's."""
        trained, objective = self.model, self._ledger.objective
        if not (self._ledger.compares and objective.find(logs)):
            return None
        weights, others = ({id(weight) for weight in one.weights} for one in (own, trained))
        if weights and weights <= others:
            return None
        return BuilderError(
            f"The builder's fit trained {trained.name!r} with callbacks=, which logs "
            f"{objective.name} and is another model than its trial's: best_model() could not "
            "return its weights. Train the model that fit gets, or leave out callbacks= there."
        )
