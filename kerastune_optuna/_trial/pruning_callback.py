"""The callback for objectives of plain Optuna: report each epoch, and stop a weak trial."""

from __future__ import annotations

import math

import optuna

from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._study import Ending, Objective
from kerastune_optuna._trial.bridge import Bridge, Logs
from kerastune_optuna._trial.hooks import Report
from kerastune_optuna._trial.ledger import Ledger


class PruningCallback(Bridge):
    """Report the objective of each epoch to Optuna and stop the training of a weak trial.

    To prune a trial, the callback sets `model.stop_training`, as EarlyStopping does, so every other
    callback still gets `on_epoch_end` and `on_train_end`. `result()` then raises TrialPruned. When
    training ends, the callback writes the user attrs `best_value`, `best_epoch`, `epochs_run` and
    `stop_reason`. In these attrs and in the reports, the first epoch is 0, even with
    `initial_epoch=`.

    Epochs without validation (`validation_freq=2`) are skipped. If an epoch lacks the metric for
    any other reason, training stops after that epoch and raises MetricNotFoundError. If the loss is
    no longer finite, training stops after that epoch and the trial is pruned, or fails if none of
    its values was finite.

    If the database does not respond, training continues, and the reports are sent later.

    Put the callback last in the list, so that it sees metrics that other callbacks log.

    Args:
        trial: The Optuna trial (or FixedTrial, which is never pruned) that is being trained.
        monitor: Name of the metric in the epoch logs. Default "val_accuracy", which also finds
            Keras's categorical, sparse and binary accuracies.
        interval: Report the metric and ask the pruner every `interval` epochs. Default 1.
        direction: "auto" (default) uses the direction of the trial's study; for a FixedTrial, it
            infers the direction from the metric's name. "minimize" and "maximize" must agree with
            the study.

    Raises:
        ArgumentError: `monitor`, `interval` or `direction` is invalid.

    Example:
        >>> import keras, numpy, optuna
        >>> from kerastune_optuna import PruningCallback
        >>> x, y = numpy.arange(8.0).reshape(8, 1), numpy.arange(8.0)
        >>> def objective(trial):
        ...     model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        ...     rate = trial.suggest_float("rate", 1e-4, 1e-3)
        ...     model.compile(keras.optimizers.SGD(rate), "mse")
        ...     pruning = PruningCallback(trial, "val_loss")
        ...     fit = {"validation_data": (x, y), "callbacks": [pruning]}
        ...     model.fit(x, y, epochs=3, verbose=0, **fit)
        ...     return pruning.result()
        >>> study = optuna.create_study()
        >>> study.optimize(objective, n_trials=2)
        >>> sorted(study.best_trial.intermediate_values)
        [0, 1, 2]
    """

    def __init__(
        self,
        trial: optuna.trial.BaseTrial,
        monitor: str = "val_accuracy",
        interval: int = 1,
        *,
        direction: str = "auto",
    ) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ArgumentError(f"interval={interval!r} is not a number of epochs. Pass 1 or more.")
        self.trial, self.interval = trial, interval
        self.objective = Objective.of(trial, monitor, direction)
        super().__init__(Ledger(self.objective), [])
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Begin a training, whose reports follow the earlier reports of the trial."""
        self._report = Report(self.trial, self.interval)  # which acts after epochs alone
        self._hooks, self._ledger = [self._report], Ledger(self.objective)
        self._ledger.begin(math.inf, 0, self._report.first_step)
        self._n_fits = self._offset = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        """Reset the state, so that one trial can train more than once."""
        self._begin_anew()
        super().on_train_begin(logs)

    def on_train_end(self, logs: Logs = None) -> None:
        """Write the outcome of the training to the user attrs, or raise the error that ended it."""
        super().on_train_end(logs)
        self._ledger.end()
        self._report.send(self._ledger)
        for key, value in self._ledger.attributes().items():
            self.trial.set_user_attr(key, value)

    @property
    def best_value(self) -> float | None:
        """The value of the best epoch so far; None if no value was finite."""
        return self._ledger.now.best_value

    @property
    def best_epoch(self) -> int | None:
        """The best epoch so far, where 0 is the first one that was trained."""
        return self._ledger.now.best_epoch

    @property
    def epochs_run(self) -> int:
        """The number of epochs that were trained."""
        return len(self._ledger.now.rows)

    @property
    def pruned(self) -> bool:
        """Whether the training ended early, by the pruner or since it diverged after a value."""
        was_open = self._ledger.ending in (Ending.OPEN, Ending.FAILED)
        return not was_open and self.best_value is not None

    @property
    def stop_reason(self) -> str | None:
        """Why training ended, like "pruned at epoch 3/10 by MedianPruner"; None before its end."""
        return self._ledger.reason

    def result(self) -> float:
        """Return the value of the best epoch, for your objective function to return.

        Returns:
            The best value, or NaN if no value was finite; Optuna then marks the trial as failed.

        Raises:
            optuna.TrialPruned: The pruner ended the training, or its loss is no longer finite.
        """
        if self.pruned:
            raise optuna.TrialPruned(self.stop_reason)
        return math.nan if self.best_value is None else self.best_value
