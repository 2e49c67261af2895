"""Keras callbacks of one training: report, prune, and hold the weights of the best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import keras
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import UpdateFinishedTrialError
from optuna_integration import KerasPruningCallback

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import Ending, Objective, TrialRecord, liveness
from kerastune_optuna._trial.state import State, state_of_generators
from kerastune_optuna._trial.trainings import Series

Logs: TypeAlias = Mapping[str, Any] | None


class PruningCallback(KerasPruningCallback):
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
        super().__init__(trial, monitor, interval)
        self.trial, self.interval = trial, interval
        self.params: Mapping[str, Any] = {}  # a model's own fit may not call set_params()
        self.objective = Objective.of(trial, monitor, direction)
        self._series = Series(self.objective)
        self.on_train_begin()

    def join(self, series: Series) -> None:
        """Make this training one of a series, by whose mean the trial is judged."""
        self._series = series
        self.on_train_begin()  # a builder's own fit may not call on_train_begin

    def on_train_begin(self, logs: Logs = None) -> None:
        """Reset the state, so that one trial can train more than once."""
        self.best_value: float | None = None
        self.best_epoch: int | None = None
        self.epochs_run = 0
        self.pruned = False
        self.cut_off = False
        self.ended_as: Ending | None = None  # if something other than the pruner ended it,
        self.reason: str | None = None  # and why
        self.last_epoch = -1  # the last epoch that was not left early, in Keras's numbering
        self._first_epoch = 0  # also in Keras's numbering
        self._values_seen = 0
        self.diverged: str | None = None
        self._unsent: dict[int, float] = {}
        self._error: Exception | None = None
        self._names: set[str] = set()
        # Optuna ignores a second report for a step, so a second training continues the count.
        after = max(_optuna.reports_of(self.trial), default=-1) + 1
        self._first_step = self._series.first_step if self._series.number else after

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Record the value of the epoch, ask the pruner, and stop if a signal requested it."""
        if self.cut_off:
            return  # Keras calls this even for an epoch that was left after one of its batches
        self._take(epoch, logs or {})
        if _signals.requested() and not self.is_last(epoch):
            self.break_off()

    def is_last(self, epoch: int) -> bool:
        """Whether training ends after this epoch anyway."""
        return self._is_stopped or epoch + 1 >= self._epochs

    @property
    def _epochs(self) -> float:
        """The number of the training's epochs, in Keras's numbering; infinite if nobody told it."""
        return float(self.params.get("epochs", math.inf))

    @property
    def _is_stopped(self) -> bool:
        # A model that the user's own loop trains may lack this attribute.
        return bool(getattr(self.model, "stop_training", False))

    def break_off(self) -> None:
        """Stop the training so that a retry can resume it; the current epoch does not count."""
        self.cut_off = True
        self.model.stop_training = True

    def _take(self, epoch: int, logs: Mapping[str, Any]) -> None:
        if not self.epochs_run:
            self._first_epoch = epoch
        self.epochs_run += 1
        self.last_epoch = epoch
        self._names.update(logs)
        if not math.isfinite(loss := float(logs.get("loss", 0.0))):
            self.diverge(f"the loss is {loss}")
        name = self.objective.find(logs)
        if name is None:
            self._pass_over(logs)
            return
        self._values_seen += 1
        if np.ndim(logs[name]) != 0:
            self._give_up(self.objective.without_number(np.shape(logs[name])))
            return
        value = float(logs[name])
        if self.leads(value):
            self.best_value, self.best_epoch = value, epoch
        step = self._first_step + epoch - self._first_epoch
        self._report(step, self._series.mean_with(value), asks=self._may_go_on(epoch))

    def leads(self, value: float) -> bool:
        """Whether a value is at least as good as that of every epoch so far."""
        # Of equal epochs, the last one wins: with few validation rows, accuracies soon tie while
        # the loss on other rows still falls, by half on iris (tests/benchmarks/README.md).
        return value == self.best_value or self.objective.is_better(value, than=self.best_value)

    def _may_go_on(self, epoch: int) -> bool:
        """Whether the trial may have more epochs, in this training or in a later one."""
        return not self.is_last(epoch) or self._series.number + 1 < self._series.length

    def _report(self, step: int, value: float, *, asks: bool) -> None:
        """Report the value; if epochs are left, ask the pruner.

        Pruning a trial that has no epochs left would save nothing.
        """
        if (step + 1) % self.interval:
            return
        self._unsent[step] = value
        try:
            with unless_away():
                self._send_late_reports()
                # optuna-integration raises TrialPruned here, which would skip the callbacks after
                # this one and every `on_train_end`.
                if asks and self.trial.should_prune():
                    self.pruned = self.model.stop_training = True
        except UpdateFinishedTrialError as error:
            self._give_up(error)  # another process considers this one dead and runs the trial

    def _send_late_reports(self) -> None:
        """Send the reports that the storage has not received yet, the earliest first."""
        liveness.check_not_left(self.trial)
        for step in sorted(self._unsent):
            self.trial.report(self._unsent[step], step)
            del self._unsent[step]

    def _pass_over(self, logs: Mapping[str, Any]) -> None:
        """Skip an epoch without validation; stop the training if the metric is missing anyway."""
        validated = any(name.startswith("val_") for name in logs)
        if validated or not self.objective.needs_validation:
            self._give_up(self.objective.missing(logs))

    def end(self, ending: Ending, reason: str) -> None:
        """Stop and prune the training for a reason other than the pruner's decision."""
        self.pruned, self.ended_as, self.reason = True, ending, reason
        self.model.stop_training = True

    def diverge(self, how: str) -> None:
        """Stop a training that has diverged; its stop reason will contain `how`."""
        self.diverged = how
        self.model.stop_training = True

    def _give_up(self, error: Exception) -> None:
        self._error = error
        self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        """Write the outcome of the training to the user attrs, or raise the error that ended it."""
        if self.cut_off:
            return  # there is no outcome yet: a retry resumes the trial from its last backup
        self.pruned = self.pruned or (self.diverged is not None and self.best_value is not None)
        if self._error is None and not (self._values_seen or self.reason or self.diverged):
            self._error = self.objective.missing(self._names)
        if self._error is not None:
            raise self._error
        self._send_late_reports()
        for key, value in self._series.outcome(self.outcome()).items():
            self.trial.set_user_attr(key, value)

    def outcome(self) -> dict[str, Any]:
        """Return the outcome of this training, without a best value if none was finite."""
        epoch = None if self.best_epoch is None else self.best_epoch - self._first_epoch
        best = {TrialRecord.best_value: self.best_value, TrialRecord.best_epoch: epoch}
        known = {key: value for key, value in best.items() if value is not None}
        why = {TrialRecord.stop_reason: self.stop_reason}
        return {**known, **why, TrialRecord.epochs_run: self.epochs_run}

    @property
    def stop_reason(self) -> str:
        """Why training ended, such as "ran all epochs" or "pruned at epoch 3/10 by AutoPruner"."""
        if self.reason is not None:
            return self.reason
        epoch, epochs = self.last_epoch + 1 - self._first_epoch, self._epochs - self._first_epoch
        place = f"epoch {epoch}" + f"/{epochs:.0f}" * (epochs < math.inf)
        if self.diverged is not None:
            return f"diverged at {place}: {self.diverged}"
        if self.best_value is None:
            return f"{self.objective.name} was never a finite number"
        if self.pruned:
            pruner = cast(optuna.Trial, self.trial).study.pruner  # a FixedTrial is never pruned
            return f"pruned at {place} by {type(pruner).__name__}"
        if epoch >= epochs:
            return "ran all epochs"
        if self._is_stopped:
            return f"stopped at {place} by a callback"
        return f"ended at {place}"  # as the user's own loop may do

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs, as JSON-serializable values."""
        reports = {**_optuna.reports_of(self.trial), **self._unsent}
        own = {TrialRecord.best_value: self.best_value, TrialRecord.best_epoch: self.best_epoch}
        counts = {TrialRecord.epochs_run: self.epochs_run, "values_seen": self._values_seen}
        places = {"first_epoch": self._first_epoch, "last_epoch": self.last_epoch}
        return {**own, **counts, **places, "reports": sorted(reports.items())}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from the state that an earlier process saved, and repeat its reports."""
        self.best_value = state[TrialRecord.best_value]
        self.best_epoch = state[TrialRecord.best_epoch]
        self.epochs_run = state[TrialRecord.epochs_run]
        self._values_seen = state["values_seen"]
        self._first_epoch, self.last_epoch = state["first_epoch"], state["last_epoch"]
        self.report_again(state)

    def report_again(self, state: Mapping[str, Any]) -> None:
        """Send the reports of an earlier process that the trial does not have."""
        known = _optuna.reports_of(self.trial)
        self._unsent = {step: value for step, value in state["reports"] if step not in known}
        self._send_late_reports()

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


class BestWeights(keras.callbacks.Callback):
    """Hold the model's state at its best epoch in memory: its weights and seed generators.

    Args:
        pruning: The PruningCallback before it in the list, which knows the best epoch.
    """

    def __init__(self, pruning: PruningCallback) -> None:
        super().__init__()
        self._pruning = pruning
        self.on_train_begin()

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget an earlier training."""
        self.state: State | None = None
        self._generators: State = []
        self._validated: State | None = None

    def on_test_begin(self, logs: Logs = None) -> None:
        """Copy the seed generators, from which layers may draw during validation too."""
        self._generators = state_of_generators(self.model)

    def take_validated(self, logs: Logs = None) -> None:
        """Copy the weights that were just validated, if their logs are the best so far.

        This must run before `on_test_end` of the user's callbacks, which may change the weights, as
        SwapEMAWeights does.
        """
        self._validated = None
        validated = {f"val_{name}": value for name, value in (logs or {}).items()}
        name = self._pruning.objective.find(validated)
        if name is not None and np.ndim(value := validated[name]) == 0:
            leads = self._pruning.leads(float(value))
            self._validated = self.model.get_weights() if leads else None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Keep the model's state if the epoch is the best so far."""
        validated, self._validated = self._validated, None
        if self._pruning.best_epoch == epoch:
            weights = validated or self.model.get_weights()
            self.state = [*weights, *self._generators]
            # TensorFlow's relu may turn NaN into 0: then the loss is finite and the model is dead.
            if any(map(_holds_nan, self.model.weights, weights)):
                self._pruning.diverge("weights are nan")

    def best_or_last(self) -> State:
        """Return the state of the best epoch, or the current weights if there is none."""
        return self.model.get_weights() if self.state is None else self.state


def _holds_nan(variable: keras.Variable, value: NDArray[Any]) -> bool:
    """Whether a trainable variable holds NaN; if it does, its minimum is NaN too."""
    with np.errstate(invalid="ignore"):
        return bool(variable.trainable and np.isnan(np.min(value, initial=0)))
