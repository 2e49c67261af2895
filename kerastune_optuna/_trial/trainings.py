"""The trainings of one trial: their seeds, the steps of their reports, their mean and spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kerastune_optuna._study import Objective, derive, record
from kerastune_optuna._trial.state import State, give_back

if TYPE_CHECKING:
    import keras


TRAINING = (
    "training"  # the column of a history with the number of the training, where there are several
)


def best_of(values: Sequence[float], objective: Objective) -> int:
    """Return the number of the training with the best value."""
    return values.index(min(values, key=objective.cost))


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
        self.values: list[float] = []
        self.rows: list[dict[str, Any]] = []
        self.state_of_best: State | None = None
        self.seconds = 0.0  # of the trainings that ended
        self._scores: list[list[float]] = []
        self._objective = objective
        self._best_epochs: list[int | None] = []
        self._fits: list[list[int] | None] = []  # the epochs of each, where a training had several
        self._epochs_run = 0
        self._epochs = 0

    @property
    def number(self) -> int:
        """The number of the training that runs, counted from 0."""
        return len(self.values)

    @property
    def is_over(self) -> bool:
        """Whether all trainings have ended."""
        return len(self.values) == self.length

    @property
    def are_left(self) -> bool:
        """Whether further trainings follow the one that runs."""
        return self.number + 1 < self.length

    @property
    def seed(self) -> int:
        """The seed of the training that runs."""
        return self.seeds[self.number]

    @property
    def means(self) -> list[float]:
        """The mean of each objective over all trainings that ended."""
        return [statistics.fmean(values) for values in zip(*self._scores, strict=True)]

    @property
    def first_step(self) -> int:
        """How many steps Optuna has for the trainings before the one that runs.

        Where a training ended early, the numbers of its last steps stay unused. So a step stands
        for the same epoch of the same training in all trials, as pruners need to compare them.
        """
        return self.number * self._epochs

    def begin(self, epochs: int) -> None:
        """Note how many epochs the training that begins may have; a further fit may raise that."""
        self._epochs = max(self._epochs, epochs)

    def mean_with(self, value: float) -> float:
        """Return the mean so far, when the training that runs has this value."""
        return statistics.fmean([*self.values, value])

    def outcome(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """Return the trial's user attrs, once a training ended with the attrs given."""
        if self.length == 1:
            return dict(training)
        known, reason = "best_value" in training, training[record.STOP_REASON]
        values = [*self.values, training[record.BEST_VALUE]] if known else self.values
        epochs = (
            [*self._best_epochs, training.get(record.BEST_EPOCH)] if known else self._best_epochs
        )
        fits = [*self._fits, training.get(record.FITS)]
        return {
            **(self._means(values, epochs, fits) if values else {}),
            record.EPOCHS_RUN: self._epochs_run + training[record.EPOCHS_RUN],
            record.STOP_REASON: f"training {self.number + 1} of {self.length}: {reason}",
        }

    def _means(
        self,
        values: Sequence[float],
        epochs: Sequence[int | None],
        fits: Sequence[list[int] | None],
    ) -> dict[str, Any]:
        best = best_of(values, self._objective)
        own = {
            record.BEST_VALUE: statistics.fmean(values),
            "values": values,
            record.BEST_EPOCHS: epochs,
        }
        if len(values) > 1:
            own[record.STD] = statistics.stdev(values)
        # A builder's own fit may return a value, and call no callback at an epoch.
        of_best = {record.BEST_EPOCH: epochs[best], record.FITS: fits[best]}
        own.update({key: value for key, value in of_best.items() if value is not None})
        return own

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
        mark = {} if self.length == 1 else {TRAINING: self.number}
        self.rows.extend({**mark, **row} for row in rows)
        self.seconds += seconds
        if "best_value" not in training:
            return
        best = min(self.values, key=self._objective.cost, default=None)
        if self._objective.is_better(training[record.BEST_VALUE], than=best):
            self.state_of_best = state
        self.values.append(training[record.BEST_VALUE])
        self._scores.append(list(scores))
        self._best_epochs.append(training.get(record.BEST_EPOCH))
        self._fits.append(training.get(record.FITS))
        self._epochs_run += training[record.EPOCHS_RUN]

    def restore(self, model: keras.Model) -> None:
        """Give a model the state that the best training came to."""
        if self.state_of_best is not None:
            give_back(model, self.state_of_best)

    def state(self) -> dict[str, Any]:
        """Return the trainings that ended, without their weights, in a form that JSON holds."""
        return {
            "values": self.values,
            "scores": self._scores,
            "seconds": self.seconds,
            record.BEST_EPOCHS: self._best_epochs,
            record.FITS: self._fits,
            record.EPOCHS_RUN: self._epochs_run,
            "epochs": self._epochs,
            "rows": self.rows,
        }

    def resume(self, state: Mapping[str, Any], best: State | None) -> None:
        """Go on after the trainings that ended in an earlier process."""
        self.values, self.rows = list(state["values"]), list(state["rows"])
        self._best_epochs, self._epochs_run = (
            list(state[record.BEST_EPOCHS]),
            state[record.EPOCHS_RUN],
        )
        self._scores, self.seconds = list(state["scores"]), state["seconds"]
        # Older backups do not have these.
        self._epochs = state.get("epochs", 0)
        self._fits = list(state.get(record.FITS, [None] * len(self.values)))
        self.state_of_best = best
