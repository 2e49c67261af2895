"""The trainings of one trial: their seeds, report steps, mean and standard deviation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from kerastune_optuna._study import Objective, TrialRecord, derive
from kerastune_optuna._trial.state import State, give_back

# The column of a history that holds the number of the training if there are several.
_TRAINING = "training"


def best_of(values: Sequence[float], objective: Objective) -> int:
    """Return the number of the training with the best value."""
    return values.index(min(values, key=objective.cost))


@dataclass
class SoFar:
    """Hold the results of a trial's trainings so far; backups use the same field names."""

    values: list[float] = field(default_factory=list)  # of the trainings that ended
    scores: list[list[float]] = field(default_factory=list)  # the values of all objectives
    best_epochs: list[int | None] = field(default_factory=list)
    fits: list[list[int] | None] = field(default_factory=list)  # the epochs of each fit
    epochs_run: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)  # the logs of their epochs
    seconds: float = 0.0
    epochs: int = 0  # the maximum for each training

    def plus(self, training: Mapping[str, Any], scores: Sequence[float] = ()) -> SoFar:
        """Return a copy with the values of another training; without a best value, the same."""
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
    """Hold the results of a trial's trainings so far; most trials have just one training.

    The trainings differ in their seeds, and in their data if they are folds. The trial reports and
    returns the mean of their values: of those that ended and of the one that runs.

    Args:
        objective: The watched objective of each training.
        length: How many trainings there are. Default 1.
        seed: The seed of the trial, which the first training uses.
    """

    def __init__(self, objective: Objective, length: int = 1, seed: int = 0) -> None:
        self.length = length
        # confirm() derives its seeds from one number; deriving from two numbers here ensures that
        # no training shares a seed with confirm().
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
        """The first report step of the training that runs.

        If a training ended early, its remaining steps stay unused. So a step denotes the same epoch
        of the same training in all trials, which pruners need in order to compare trials.
        """
        return self.number * self.so_far.epochs

    def begin(self, epochs: int) -> None:
        """Note how many epochs the next training may have; another fit may raise that number."""
        self.so_far.epochs = max(self.so_far.epochs, epochs)

    def mean_with(self, value: float) -> float:
        """Return the mean of the values so far, with this value for the training that runs."""
        return statistics.fmean([*self.so_far.values, value])

    def outcome(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """Return the trial's user attrs after a training that ended with the given attrs."""
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
        # A builder's own fit may return a value without calling the callbacks at any epoch.
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
        """Add a training that ended.

        Args:
            training: The outcome from its PruningCallback, without `best_value` if it has none.
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
        """Give a model the state from the best training."""
        if self.state_of_best is not None:
            give_back(model, self.state_of_best)

    def state(self) -> dict[str, Any]:
        """Return the results of the trainings, without weights, as JSON-serializable values."""
        return vars(self.so_far)

    def resume(self, state: Mapping[str, Any], best: State | None) -> None:
        """Continue after the trainings that ended in an earlier process."""
        self.so_far, self.state_of_best = SoFar(**state), best
