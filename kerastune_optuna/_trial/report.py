"""Report the objective of each epoch to Optuna, and ask its pruner whether to go on."""

from __future__ import annotations

from typing import Any

import keras
from optuna.exceptions import UpdateFinishedTrialError

from kerastune_optuna import _optuna
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import Ending, liveness
from kerastune_optuna._trial.bridge import Hook
from kerastune_optuna._trial.ledger import Ledger


def next_step(trial: Any) -> int:
    """Return the step after all that a trial has reports of: Optuna ignores a second one."""
    return max(_optuna.reports_of(trial), default=-1) + 1


class Report(Hook):
    """Report each epoch that has a value; end a training that the pruner would not go on with.

    If the database does not respond, training continues, and the reports are sent later.

    Args:
        trial: The trial, or what a pruner of one objective is shown of it.
        interval: Report, and ask the pruner, every `interval` epochs. Default 1.
    """

    def __init__(self, trial: Any, interval: int = 1) -> None:
        self._trial, self._interval = trial, interval
        self._known = set(_optuna.reports_of(trial))  # the steps that the storage has received

    def epoch(self, ledger: Ledger, model: keras.Model) -> None:
        """Report the value; if epochs are left, ask the pruner.

        Pruning a trial that has no epochs left would save nothing.
        """
        place = ledger.now.place
        if ledger.latest is None or (ledger.step_of(place) + 1) % self._interval:
            return
        ledger.report(ledger.latest, place)
        try:
            with unless_away():
                self.send(ledger)
                # Optuna's own callback raises TrialPruned here, which would skip the callbacks
                # after this one and every `on_train_end`.
                if ledger.is_open and ledger.may_go_on and self._trial.should_prune():
                    self._prune(ledger)
        except UpdateFinishedTrialError as error:
            ledger.fail(error)  # another process considers this one dead and runs the trial

    def _prune(self, ledger: Ledger) -> None:
        pruner = type(self._trial.study.pruner).__name__  # a FixedTrial is never pruned
        if ledger.now.best_value is not None:
            ledger.stop(Ending.PRUNED, f"pruned at {ledger.latest_in_words} by {pruner}")
        else:
            ledger.fail_without_value()

    def send(self, ledger: Ledger) -> None:
        """Send the reports that the storage has not received yet, the earliest first.

        A retry sends those of an earlier process, too.
        """
        liveness.check_not_left(self._trial)
        for step, value in ledger.reports:
            if step not in self._known:
                self._trial.report(value, step)
                self._known.add(step)
