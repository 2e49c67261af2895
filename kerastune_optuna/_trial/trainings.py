"""The trainings of one trial: their seeds, the steps of their reports, their mean and spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from kerastune_optuna._seeds import derive
from kerastune_optuna._study import Objective, TrialRecord
from kerastune_optuna._trial.state import State, give_back

# The column of a history with the number of the training, where there are several.
_TRAINING = "training"


def best_of(values: Sequence[float], objective: Objective) -> int:
    """Return the number of the training with the best value."""
    return values.index(min(values, key=objective.cost))


@dataclass
class SoFar:
    """Hold what the trainings of a trial came to so far, by the names that backups have for it."""

    values: list[float] = field(default_factory=list)  # of those that ended
    scores: list[list[float]] = field(default_factory=list)  # the values of all objectives
    best_epochs: list[int | None] = field(default_factory=list)
    fits: list[list[int] | None] = field(default_factory=list)  # the epochs of each fit
    epochs_run: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)  # the logs of their epochs
    seconds: float = 0.0
    epochs: int = 0  # how many each may have

    def plus(self, training: Mapping[str, Any], scores: Sequence[float] = ()) -> SoFar:
        """Return the same with the values of a further training, where that came to one."""
        if TrialRecord.best_value not in training:
            return self
        return replace(
            self,
            values=[*self.values, training[TrialRecord.best_value]],
            scores=[*self.scores, list(scores)],
            best_epochs=[*self.best_epochs, training.get(TrialRecord.best_epoch)],
            fits=[*self.fits, training.get(TrialRecord.fits)],
            epochs_run=self.epochs_run + training[TrialRecord.epochs_run],
        )


class Series:
    """Hold what the trainings of a trial came to so far; most trials have just one.

    The trainings differ in their seeds, and in their data where they are folds. What is reported
    and returned is the mean of their values: of those that ended, and of the one that runs.

    Args:
        objective: The watched objective of each training.
        length: How many trainings there are. Default 1.
        seed: The seed of the trial, which the first training has.
    """

    def __init__(self, objective: Objective, length: int = 1, seed: int = 0) -> None:
        self.length = length
        # confirm() derives its seeds by a path of one number. By a path of two, no training has a
        # seed of confirm()'s.
        self.seeds = [seed, *(derive(seed, number, 0) for number in range(1, length))]
        self.so_far = SoFar()
        self.state_of_best: State | None = None
        self._objective = objective

    @property
    def number(self) -> int:
        """The number of the training that runs, counted from 0."""
        return len(self.so_far.values)

    @property
    def means(self) -> list[float]:
        """The mean of each objective over all trainings that ended."""
        return [statistics.fmean(values) for values in zip(*self.so_far.scores, strict=True)]

    @property
    def first_step(self) -> int:
        """How many steps Optuna has for the trainings before the one that runs.

        Where a training ended early, the numbers of its last steps stay unused. So a step stands
        for the same epoch of the same training in all trials, as pruners need to compare them.
        """
        return self.number * self.so_far.epochs

    def begin(self, epochs: int) -> None:
        """Note how many epochs the training that begins may have; a further fit may raise that."""
        self.so_far.epochs = max(self.so_far.epochs, epochs)

    def mean_with(self, value: float) -> float:
        """Return the mean so far, when the training that runs has this value."""
        return statistics.fmean([*self.so_far.values, value])

    def outcome(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """Return the trial's user attrs, once a training ended with the attrs given."""
        if self.length == 1:
            return dict(training)
        after, reason = self.so_far.plus(training), training[TrialRecord.stop_reason]
        return {
            **(self._means(after) if after.values else {}),
            TrialRecord.epochs_run: self.so_far.epochs_run + training[TrialRecord.epochs_run],
            TrialRecord.stop_reason: f"training {self.number + 1} of {self.length}: {reason}",
        }

    def _means(self, after: SoFar) -> dict[str, Any]:
        best = best_of(after.values, self._objective)
        own = {
            TrialRecord.best_value: statistics.fmean(after.values),
            TrialRecord.values: after.values,
            TrialRecord.best_epochs: after.best_epochs,
        }
        if len(after.values) > 1:
            own[TrialRecord.std] = statistics.stdev(after.values)
        # A builder's own fit may return a value, and call no callback at an epoch.
        epoch, fits = after.best_epochs[best], after.fits[best]
        of_best = {TrialRecord.best_epoch: epoch, TrialRecord.fits: fits}
        return own | {key: value for key, value in of_best.items() if value is not None}

    def add(
        self,
        training: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        state: State,
        scores: Sequence[float],
        seconds: float,
    ) -> None:
        """Take in a training that ended.

        Args:
            training: What it came to, as its PruningCallback says; without `best_value` for none.
            rows: The logs of its epochs.
            state: The model's state at its best epoch.
            scores: The values of all objectives.
            seconds: How long it took.
        """
        mark = {} if self.length == 1 else {_TRAINING: self.number}
        self.so_far.rows.extend({**mark, **row} for row in rows)
        self.so_far.seconds += seconds
        best = min(self.so_far.values, key=self._objective.cost, default=None)
        if self._objective.is_better(training.get(TrialRecord.best_value, math.nan), than=best):
            self.state_of_best = state
        self.so_far = self.so_far.plus(training, scores)

    def restore(self, model: keras.Model) -> None:
        """Give a model the state that the best training came to."""
        if self.state_of_best is not None:
            give_back(model, self.state_of_best)

    def state(self) -> dict[str, Any]:
        """Return what the trainings came to, without their weights, in a form that JSON holds."""
        return vars(self.so_far)

    def resume(self, state: Mapping[str, Any], best: State | None) -> None:
        """Go on after the trainings that ended in an earlier process."""
        self.so_far, self.state_of_best = SoFar(**state), best
