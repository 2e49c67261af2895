"""The ledger of a trial: what its trainings have come to, and why the one that runs has ended."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from kerastune_optuna._exceptions import TunerError
from kerastune_optuna._study import Ending, Objective, TrialRecord, derive
from kerastune_optuna._trial.variables import State

Row: TypeAlias = dict[str, Any]


@dataclass
class Training:
    """Hold what one training has come to, as values that JSON can represent."""

    rows: list[Row] = field(default_factory=list)  # the logs of its epochs
    reports: list[tuple[int, float]] = field(default_factory=list)  # each a step and the mean there
    best_value: float | None = None
    best_epoch: int | None = None  # 0 is the first that was trained
    first_step: int = 0  # at which its first epoch is reported
    seconds: float = 0.0  # in all processes that ran it
    starts: list[int] = field(default_factory=list)  # how many epochs there were before each fit
    own_epochs: int | None = None  # if a builder's own fit has more epochs than it was given
    scores: list[float] = field(default_factory=list)  # the values of all objectives, in the end
    returned: dict[str, float] = field(default_factory=dict)  # metrics of a builder's own fit
    counts_final_weights: bool = False  # whether its value is that of the final weights

    @property
    def place(self) -> int:
        """The place of the latest epoch in the training; 0 is the first that was trained."""
        return int(self.rows[-1]["epoch"] - self.rows[0]["epoch"])

    @property
    def fits(self) -> list[int]:
        """How many epochs each fit had."""
        return [end - start for start, end in pairwise([*self.starts, len(self.rows)])]

    @property
    def logs(self) -> Row:
        """The logs of the best epoch, with the other metrics that a builder's own fit returned."""
        first = self.rows[0]["epoch"] if self.rows else 0
        best = (row for row in self.rows if row["epoch"] - first == self.best_epoch)
        logs = next(best, {})
        return {**logs, **self.returned} if self.counts_final_weights else {**self.returned, **logs}


class Ledger:
    """Hold the trainings of a trial: those that ended, and the one that runs.

    Most trials have one training. Several differ in their seeds, and in their data if they are
    folds: the trial reports and returns the mean of their values.

    Args:
        objective: The first metric, by which epochs are compared and trials pruned.
        length: How many trainings there are. Default 1.
        seed: The seed of the trial, which the first training uses.
        is_open_ended: Whether the builder's own fit trains: another fit may follow each one, and
            the value may come at the end.
        compares: Whether the epochs are compared; if not, they are only counted.
    """

    def __init__(
        self,
        objective: Objective,
        length: int = 1,
        seed: int = 0,
        *,
        is_open_ended: bool = False,
        compares: bool = True,
    ) -> None:
        self.objective, self.length = objective, length
        self.is_open_ended, self.compares = is_open_ended, compares
        # confirm() derives its seeds from one number; deriving from two numbers here ensures that
        # no training shares a seed with confirm().
        self.seeds = [seed, *(derive(seed, number, 0) for number in range(1, length))]
        self.past: list[Training] = []  # the trainings that came to their end
        self.now = Training()
        self.means: list[float] = []  # of each objective, once all trainings have ended
        self.backed_up: Training | None = None  # what `now` becomes once its model is restored
        # The most epochs of any training; the reports of the nth begin after n times as many steps.
        self.most_epochs = 0
        self.state_of_best: State | None = None  # the weights of the best training that ended
        # Of the training that runs, and not part of a backup:
        self.planned_epochs = math.inf  # the epochs that it was given
        self.until = math.inf  # the first epoch that its fit does not train
        self.is_stopped = False  # whether the model was told to stop, as callbacks of the user do
        self.is_last = False  # whether its latest epoch is the last of its fit
        self.latest: float | None = None  # the value of its latest epoch, if that has one
        self.is_best = False  # whether its latest epoch is the best so far
        self.ending = Ending.OPEN  # of the trial, as far as its trainings know
        self.reason: str | None = None  # why the training ended, for people
        self._error: Exception | None = None
        self.late_error: TunerError | None = None  # that came once the trial had its result
        self._began = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether the trial goes on: nothing ended it, and a training is left."""
        return self.ending is Ending.OPEN

    @property
    def number(self) -> int:
        """The number of the training that runs, counted from 0."""
        return len(self.past)

    @property
    def seconds(self) -> float:
        """How long all trainings took."""
        return sum(one.seconds for one in [*self.past, self.now])

    def begin(self, planned: float, most: int, first_step: int) -> None:
        """Begin a training.

        Args:
            planned: How many epochs it is given.
            most: How many epochs each training of a trial may have.
            first_step: At which step to report its first epoch, if no training came before it.
        """
        self.planned_epochs, self.most_epochs = planned, max(self.most_epochs, most)
        # If a training ended early, its remaining steps stay unused. So a step denotes the same
        # epoch of the same training in all trials, which pruners need in order to compare trials.
        self.now.first_step = self.number * self.most_epochs if self.past else first_step
        self.start_clock()

    def go_on(self) -> None:
        """Continue with what an earlier process did of the training, now that its model is back."""
        assert self.backed_up is not None
        self.now, self.backed_up = self.backed_up, None
        self.start_clock()

    def start_clock(self) -> None:
        """Begin to measure the seconds, after those of an earlier process."""
        self._began = time.monotonic() - self.now.seconds

    def measure_seconds(self) -> None:
        """Measure the seconds of the training that runs."""
        self.now.seconds = time.monotonic() - self._began

    def take(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Add the logs of an epoch, and note whether it is the best so far.

        Args:
            epoch: Its number, which grows over all fits of a training.
            logs: Its logs, with what the user's callbacks have added.
        """
        now, self.latest, self.is_best = self.now, None, False
        row = {"epoch": epoch, **{name: plain(value) for name, value in logs.items()}}
        now.rows.append(row | {"epoch": epoch})  # whatever a callback logs under that name
        epochs = self.until - now.rows[0]["epoch"]
        now.own_epochs = int(epochs) if self.planned_epochs < epochs < math.inf else None
        self.most_epochs = max(self.most_epochs, now.own_epochs or 0)
        self.measure_seconds()
        if not self.compares:
            return
        if not math.isfinite(loss := float(logs.get("loss", 0.0))):
            self.diverge(f"the loss is {loss}")
        if (name := self.objective.find(logs)) is None:
            needs_validation = self.objective.name.startswith("val_")
            validated = any(one.startswith("val_") for one in logs)
            # A fit of the builder's own may log the objective later, or return it.
            if not self.is_open_ended and (validated or not needs_validation):
                self.fail(self.objective.missing(logs))
        elif shape := np.shape(logs[name]):
            self.fail(self.objective.without_number(shape))
        else:
            self.latest = now.rows[-1][name] = float(logs[name])
            if self.leads(self.latest):
                self.is_best = True
                now.best_value, now.best_epoch = self.latest, now.place

    def leads(self, value: float) -> bool:
        """Whether a value is at least as good as that of every epoch of the training so far."""
        # Of equal epochs, the last one wins: with few validation rows, accuracies soon tie while
        # the loss on other rows still falls, by half on iris (tests/benchmarks/README.md).
        best = self.now.best_value
        return value == best or self.objective.is_better(value, than=best)

    @property
    def has_values(self) -> bool:
        """Whether an epoch of the training has logged the objective."""
        return any(map(self.objective.find, self.now.rows))

    def report(self, value: float, step: int) -> None:
        """Note a value of the training that runs as a report: the mean with those that ended."""
        before = [one.best_value for one in self.past if one.best_value is not None]
        self.now.reports.append((step, statistics.fmean([*before, value])))

    def take_final_value(self, value: float) -> None:
        """Make a value, and the final weights, count for the training."""
        now = self.now
        if not self.has_values:
            self.report(value, now.first_step)
        now.counts_final_weights = True
        now.best_value = value if math.isfinite(value) else None
        now.best_epoch = now.place if now.rows else None

    def stop(self, ending: Ending, reason: str) -> None:
        """End the trial with the training that runs, unless something else has ended it before.

        CUT_OFF replaces any other ending, since a retry resumes the training.
        """
        if self.ending is Ending.OPEN or ending is Ending.CUT_OFF:
            self.ending, self.reason = ending, reason

    def fail(self, error: Exception) -> None:
        """End the training with an error, which `end` raises."""
        self._error = self._error or error
        self.stop(Ending.FAILED, str(error))

    def fail_without_value(self) -> None:
        """End a training none of whose values is finite."""
        name = self.objective.name
        of_end = f"the builder's fit returned a {name} that is not finite"
        reason = of_end if self.now.counts_final_weights else f"{name} was never a finite number"
        self.stop(Ending.FAILED, reason)

    def diverge(self, how: str) -> None:
        """End a training that has diverged."""
        self.stop(Ending.DIVERGED, f"diverged at {self.latest_in_words}: {how}")

    @property
    def latest_in_words(self) -> str:
        """The latest epoch as people count it, like `epoch 3/10`."""
        epochs = float(self.until - self.now.rows[0]["epoch"])
        return f"epoch {self.now.place + 1}" + f"/{epochs:.0f}" * (epochs < math.inf)

    def end(self) -> None:
        """Note how the training that runs has ended.

        Raises:
            MetricNotFoundError: No epoch had the objective.
            Exception: Another error that ended the training.
        """
        now, is_first = self.now, not self.past
        if self._error is not None:
            raise self._error
        # A configuration that is trained for one epoch at most shows that something is wrong.
        if self.ending is Ending.DIVERGED:
            if now.best_value is None or (is_first and len(now.rows) == 1):
                self.ending = Ending.DIVERGED_AT_ONCE
        elif self.ending is not Ending.OPEN:
            if is_first and not now.rows:
                self.ending = Ending.FORBIDDEN
        elif now.best_value is not None:
            self.reason = self._how_it_ended()
        elif not (now.counts_final_weights or self.has_values):
            logged = {name for row in now.rows for name in row if name != "epoch"}
            raise self.objective.missing(logged)
        else:
            self.fail_without_value()

    def _how_it_ended(self) -> str:
        """Return how a training ended that no hook ended: by itself, or by the user's code."""
        if not self.now.rows:
            return "all of the builder's own training"
        if self.now.rows[-1]["epoch"] + 1 >= self.until:
            return "ran all epochs"
        # A loop of the user's may end the training without a word.
        latest = self.latest_in_words
        return f"stopped at {latest} by a callback" if self.is_stopped else f"ended at {latest}"

    def close(self, scores: Sequence[float], state: State | None) -> None:
        """Move the training that has ended to `past`; after the last one, the trial is COMPLETE.

        Args:
            scores: The values of all objectives.
            state: The weights of its best epoch.
        """
        value = self.now.best_value
        assert value is not None
        if all(self.objective.is_better(value, than=one.best_value) for one in self.past):
            self.state_of_best = state
        self.now.scores = list(scores)
        self.past, self.now = [*self.past, self.now], Training()
        if self.number == self.length:
            of_each = zip(*(one.scores for one in self.past), strict=True)
            self.means = [statistics.fmean(values) for values in of_each]
            self.ending = Ending.COMPLETE

    def attributes(self) -> dict[str, Any]:
        """Return the trial's user attributes, once the training that runs has ended."""
        now = self.now
        common = {TrialRecord.epochs_run: sum(len(one.rows) for one in [*self.past, now])}
        if self.length == 1:
            fits = now.fits if len(now.starts) > 1 else None
            best = {TrialRecord.best_value: now.best_value, TrialRecord.best_epoch: now.best_epoch}
            own = {**best, TrialRecord.fits: fits, TrialRecord.epochs: now.own_epochs}
            reason = self.reason
        else:
            own = self._attributes_of_several()
            reason = f"training {self.number + 1} of {self.length}: {self.reason}"
        present = {name: value for name, value in own.items() if value is not None}
        return {**present, **common, TrialRecord.stop_reason: reason}

    def _attributes_of_several(self) -> dict[str, Any]:
        """Return the mean, the spread and the best of the trainings that have a value."""
        valued = [one for one in [*self.past, self.now] if one.best_value is not None]
        if not valued:
            return {}
        values = [one.best_value for one in valued if one.best_value is not None]
        best = valued[number_of_best(values, self.objective)]
        return {
            TrialRecord.best_value: statistics.fmean(values),
            TrialRecord.values: values,
            TrialRecord.std: statistics.stdev(values) if len(values) > 1 else None,
            TrialRecord.best_epochs: [one.best_epoch for one in valued],
            # A builder's own fit may return a value without calling the callbacks at any epoch.
            TrialRecord.best_epoch: best.best_epoch,
            TrialRecord.fits: best.fits if len(best.starts) > 1 else None,
        }

    def state(self) -> dict[str, Any]:
        """Return all but the weights, as values that JSON can represent."""
        past = [vars(one) for one in self.past]
        return {"past": past, "now": vars(self.now), "epochs": self.most_epochs}

    def resume(self, state: Mapping[str, Any], of_best: State | None) -> None:
        """Continue with what an earlier process saved, between two trainings or within one."""
        self.past = [Training(**one) for one in state["past"]]
        now = Training(**state["now"])
        self.backed_up = now if now.rows else None
        self.most_epochs, self.state_of_best = state["epochs"], of_best


def number_of_best(values: Sequence[float], objective: Objective) -> int:
    """Return the number of the training with the best value."""
    return values.index(min(values, key=objective.cost))


def plain(value: Any) -> Any:
    """Return a value as one that JSON and CSV can represent."""
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    try:
        return float(value)  # a tensor of one number
    except (TypeError, ValueError):
        return str(value)
