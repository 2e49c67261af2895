"""End a training within an epoch: after a signal, or when it takes too long."""

from __future__ import annotations

import time

import keras

from kerastune_optuna._signals import requested
from kerastune_optuna._study import Constraints, Ending
from kerastune_optuna._trial.bridge import Hook
from kerastune_optuna._trial.ledger import Ledger

SOON = 2.0  # seconds that a training may go on after a signal to finish its epoch


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


def limits_of(constraints: Constraints) -> list[Hook]:
    """Return the limits that show only while a trial is trained, if any is set."""
    return [] if constraints.max_seconds is None else [TimeLimit(constraints.max_seconds)]


class TimeLimit(Hook):
    """End a training when its trial takes too long.

    Args:
        seconds: How long all trainings of the trial may take.
    """

    def __init__(self, seconds: float) -> None:
        self._limit = seconds

    def batch(self, ledger: Ledger) -> None:
        """Look at the time."""
        ledger.measure_seconds()
        self.epoch(ledger)

    def epoch(self, ledger: Ledger, model: keras.Model | None = None) -> None:
        """End the training if its time is over."""
        if ledger.seconds > self._limit:
            why = f"max_seconds_per_trial: {ledger.seconds:.4g} > {self._limit:g}"
            ledger.stop(Ending.OVER_LIMIT, why)

    end = epoch  # the last batch, or the validation after it, may have taken too long
