"""What acts on a training: hold its best weights, report and prune, and end it within an epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial

from kerastune_optuna import _optuna
from kerastune_optuna._signals import requested
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import Constraints, Ending, own_runs
from kerastune_optuna._trial.bridge import Hook
from kerastune_optuna._trial.ledger import Ledger
from kerastune_optuna._trial.variables import State, generators_of

SOON = 2.0  # seconds that a training may go on after a signal to finish its epoch


class Limits(Hook):
    """End a training when its trial exceeds a limit, such as that of its time.

    Args:
        constraints: The limits.
    """

    def __init__(self, constraints: Constraints) -> None:
        self._constraints = constraints

    def batch(self, ledger: Ledger) -> None:
        """Measure the time, and look at the limits."""
        ledger.measure_seconds()
        self.epoch(ledger)

    def epoch(self, ledger: Ledger, model: keras.Model | None = None) -> None:
        """End the training if it has exceeded a limit."""
        if (why := self._constraints.exceeded(ledger.seconds)) is not None:
            ledger.stop(Ending.OVER_LIMIT, why)

    end = epoch  # the last batch, or the validation after it, may have exceeded one


class Best(Hook):
    """Hold the model's state at its best epoch in memory.

    Args:
        model: The model of the trial; a builder's own fit may train others that contain it.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.state: State | None = None
        self._generators: State = []
        self._validated: State | None = None

    def before_validation(self) -> None:
        """Copy the seed generators, from which layers may draw during validation too."""
        self._generators = [*map(keras.ops.convert_to_numpy, generators_of(self._model))]

    def validated(self, ledger: Ledger, logs: Mapping[str, Any]) -> None:
        """Copy the weights that were just validated, if their logs are the best so far.

        SwapEMAWeights, a callback of the user, changes the weights right afterwards.
        """
        self._validated = None
        validated = {f"val_{name}": value for name, value in logs.items()}
        name = ledger.objective.find(validated)
        if name is not None and np.ndim(value := validated[name]) == 0:
            leads = ledger.leads(float(value))
            self._validated = self._model.get_weights() if leads else None

    def epoch(self, ledger: Ledger, model: keras.Model) -> None:
        """Keep the model's state if the epoch is the best so far."""
        validated, self._validated = self._validated, None
        if ledger.is_best:
            weights = validated or self._model.get_weights()
            self.state = [*weights, *self._generators]
            pairs = zip(self._model.weights, weights, strict=False)
            trained = (value for variable, value in pairs if variable.trainable)
            # TensorFlow's relu may turn NaN into 0: then the loss is finite and the model is dead.
            # An array that holds NaN has NaN as its minimum.
            with np.errstate(invalid="ignore"):
                if any(np.isnan(np.min(value, initial=0)) for value in trained):
                    ledger.diverge("weights are nan")

    def final(self) -> State:
        """Return the model's final state."""
        return [*self._model.get_weights(), *self._generators]


class Report(Hook):
    """Report each epoch that has a value; end a training that the pruner would not go on with.

    If the database does not respond, training continues, and the reports are sent later.

    Args:
        trial: The trial, or what a pruner of one objective is shown of it.
        interval: Report, and ask the pruner, every `interval` epochs. Default 1.
    """

    def __init__(self, trial: Any, interval: int = 1) -> None:
        self._trial, self._interval = trial, interval
        # The steps that the storage has received; a FixedTrial keeps no reports.
        sent = _optuna.as_known(trial).intermediate_values if isinstance(trial, Trial) else ()
        self._sent = set(sent)
        # A training that begins now reports its first epoch after the latest step: Optuna ignores a
        # second report of a step.
        self.first_step = max(self._sent, default=-1) + 1

    def epoch(self, ledger: Ledger, model: keras.Model) -> None:
        """Report the value; if epochs are left, ask the pruner.

        Pruning a trial that has no epochs left would save nothing.
        """
        step = ledger.now.first_step + ledger.now.place
        if ledger.latest is None or (step + 1) % self._interval:
            return
        ledger.report(ledger.latest, step)
        # Another fit of the builder's own may follow, or another training.
        has_more = not ledger.is_last or ledger.is_open_ended or ledger.number + 1 < ledger.length
        try:
            with unless_away():
                self.send(ledger)
                # Optuna's own callback raises TrialPruned here, which would skip the callbacks
                # after this one and every `on_train_end`.
                if ledger.is_open and has_more and self._trial.should_prune():
                    if ledger.now.best_value is None:
                        ledger.fail_without_value()
                    else:
                        pruner = type(self._trial.study.pruner).__name__
                        where = ledger.latest_in_words
                        ledger.stop(Ending.PRUNED, f"pruned at {where} by {pruner}")
        except UpdateFinishedTrialError as error:
            ledger.fail(error)  # another process considers this one dead and runs the trial

    def send(self, ledger: Ledger) -> None:
        """Send the reports that the storage has not received yet, the earliest first.

        A retry sends the reports of an earlier process, too.
        """
        own_runs.check_not_left(self._trial)
        reports = (report for one in [*ledger.past, ledger.now] for report in one.reports)
        for step, value in reports:
            if step not in self._sent:
                self._trial.report(value, step)
                self._sent.add(step)


class StopOnRequest(Hook):
    """Leave an epoch after a signal asked the search to end, unless the epoch ends soon anyway.

    What was cut off is run again, from its last backup; an epoch that was left does not count.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lasts = float("inf")  # seconds that an epoch takes, as far as the last one shows
        self._until: float | None = None

    def begin(self, ledger: Ledger, model: keras.Model) -> None:
        """Start to time the first epoch."""
        self._began = time.monotonic()

    def batch(self, ledger: Ledger) -> None:
        """Leave the epoch if a signal asked the search to end and the epoch's end is not near."""
        if not requested():
            return
        now = time.monotonic()
        if self._until is None:
            is_near = self._began + self._lasts < now + SOON
            self._until = now + SOON if is_near else now
        if now >= self._until:
            ledger.stop(Ending.CUT_OFF, "a signal")

    def epoch(self, ledger: Ledger, model: keras.Model) -> None:
        """Stop after the epoch if a signal asked for it; else expect the next to last as long."""
        now = time.monotonic()
        self._lasts, self._began = now - self._began, now
        if requested() and ledger.is_open and not ledger.is_last:
            ledger.stop(Ending.CUT_OFF, "a signal")
