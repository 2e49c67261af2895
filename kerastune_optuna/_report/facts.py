"""The facts that tables, figures and the page show, from one reading of a study."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from kerastune_optuna import _optuna
from kerastune_optuna._study import Card, Ending, Objectives, Ranking, StudyRecord, TrialRecord

_FEWEST = 4  # trials with a value from which importance is computed


@dataclass(frozen=True)
class Row:
    """Hold what a table shows of one trial; a field is None if the study does not know it.

    With several objectives, `value` is that of the first metric, and all trials on the front have
    rank 1.
    """

    trial: FrozenTrial
    rank: int | None
    value: float | None
    cost: float  # the value with the sign for which less is better; infinity without a value
    others: tuple[float | None, ...]  # the values of the other objectives
    best_epoch: int | None  # counted from 1, as people do
    epochs_run: int | None
    seconds: float | None
    std: float | None = None  # of the values of several trainings; `value` is their mean

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number

    @property
    def state(self) -> str:
        """The name of the trial's state, or EXCLUDED."""
        return state_of(self.trial)

    @property
    def epochs(self) -> str:
        """The best epoch and the epochs run, like 7/10."""
        epochs = (self.best_epoch, self.epochs_run)
        return "/".join(str(epoch) for epoch in epochs if epoch is not None)

    @property
    def why(self) -> str | None:
        """Why the trial ended or is excluded."""
        return TrialRecord(self.trial).ended_because

    @property
    def worker(self) -> str | None:
        """The process that ran the trial: its machine, its id, and when it began."""
        return TrialRecord(self.trial).process


class Facts:
    """Hold the facts from one reading of a study.

    Args:
        study: A study in any state.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.name = study.study_name
        self.objectives = Objectives.of(study)
        self.first = self.objectives.watched  # curves and best values are about it
        names = [one.name for one in (self.first, *self.objectives.others)]
        self.headings = names if self.objectives.are_several else ["value"]  # of values in tables
        trials = study.get_trials(deepcopy=False)
        self.trials = [trial for trial in trials if TrialRecord(trial).has_begun]

    @cached_property
    def rows(self) -> list[Row]:
        """A row for each trial, the best first, and those without a value last."""
        ranks = Ranking(self.objectives.directions).ranks(self.trials)
        rows = [self._row(trial, ranks.get(trial.number)) for trial in self.trials]
        return sorted(rows, key=lambda row: (row.rank or math.inf, row.cost, row.number))

    @property
    def front(self) -> list[Row]:
        """The rows of the trials that no other trial dominates, the best by the first metric first.

        With one objective, this is only the row of the best trial.
        """
        return [row for row in self.rows if row.rank == 1]

    @property
    def complete(self) -> list[Row]:
        """The rows of COMPLETE trials, the best first."""
        return [row for row in self.rows if row.rank is not None]

    @property
    def best(self) -> Row | None:
        """The row of the best trial."""
        return next(iter(self.complete), None)

    @property
    def comparable(self) -> list[Row]:
        """The rows of trials that ended with a value of their own, PRUNED ones with their best."""
        valued = [row for row in self.rows if math.isfinite(row.cost)]
        return [row for row in valued if TrialRecord(row.trial).ending.is_own_result]

    @property
    def states(self) -> dict[str, int]:
        """How many trials are in each state by its name, the most frequent first."""
        return dict(Counter(state_of(trial) for trial in self.trials).most_common())

    @cached_property
    def params(self) -> list[str]:
        """The names of all parameters, in the order in which builders suggest them."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.params))

    @cached_property
    def has_spread(self) -> bool:
        """Whether values are the means of several trainings."""
        return any(row.std is not None for row in self.rows)

    @property
    def epochs_run(self) -> int:
        """The number of epochs that all trials ran."""
        return sum(row.epochs_run or 0 for row in self.rows)

    @property
    def saved(self) -> str:
        """The epochs that pruned trials did not run, like `4 saved by pruning (27%)`.

        It is empty if the study does not record how many epochs a trial may run.
        """
        if (epochs := Card.latest(self.study).epochs_in_all) is None:
            return ""
        saved = saved_epochs(self.trials, epochs)
        return f"{saved} saved by pruning ({saved / max(1, self.epochs_run + saved):.0%})"

    @property
    def seconds(self) -> float:
        """The seconds of all trainings."""
        return math.fsum(row.seconds or 0.0 for row in self.rows)

    @cached_property
    def importances(self) -> dict[str, float]:
        """How much each parameter mattered for the first metric, the most important first.

        PRUNED trials count with their best value: if most trials are pruned, the others are similar
        and tell little. The dict is empty if too few trials have a value, or if they do not differ.
        """
        rows = self.comparable
        if len(rows) < _FEWEST or len({row.value for row in rows}) < 2 or not self.params:
            return {}
        # If all trials have the same value of a parameter, PED-ANOVA divides by zero.
        with warnings.catch_warnings(action="ignore"):
            found = optuna.importance.get_param_importances(self.study_of(rows))
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def study_of(self, rows: Sequence[Row]) -> optuna.Study:
        """Return a study for Optuna's analyses, in which these trials are all COMPLETE."""
        with _optuna.quiet():
            study = optuna.create_study(direction=self.study.directions[self.first.place])
        study.add_trials(
            create_trial(
                value=row.value, params=row.trial.params, distributions=row.trial.distributions
            )
            for row in rows
        )
        return study

    @cached_property
    def cards(self) -> list[tuple[dict[str, Any], list[int]]]:
        """The cards of the searches, each with the numbers of its trials."""
        numbers: dict[str | None, list[int]] = {}
        for trial in self.trials:
            numbers.setdefault(TrialRecord(trial).card, []).append(trial.number)
        attrs = self.study.user_attrs
        told = {key: attrs.get(f"{StudyRecord.CARD}{key}") for key in numbers}
        return [(card, numbers[key]) for key, card in told.items() if isinstance(card, dict)]

    def _row(self, trial: FrozenTrial, rank: int | None) -> Row:
        # A trial that was added by hand or is still running lacks the attrs of a finished training.
        seen, record = curve(trial), TrialRecord(trial)
        best, run = record.best_epoch, record.epochs_run
        if best is None and run is None and seen:  # if `run` is known, its fit called no callback
            best = min(seen, key=lambda step: self.first.cost(seen[step]))
        if run is None:
            run = len(trial.intermediate_values) or None
        none = [None] * len(self.objectives.each)
        values = trial.values if trial.state is TrialState.COMPLETE else none
        seconds = record.seconds
        # A trial whose worker died lasts, for Optuna, until another process notices it.
        if seconds is None and record.ending.is_final and trial.duration is not None:
            seconds = trial.duration.total_seconds()
        value = values[self.first.place]
        if value is None and seen:  # for a trial that is not COMPLETE, the value of its best epoch
            value = min(seen.values(), key=self.first.cost)
        return Row(
            trial,
            rank,
            value,
            math.inf if value is None else self.first.cost(value),
            tuple(value for place, value in enumerate(values) if place != self.first.place),
            None if best is None else best + 1,
            run,
            seconds,
            record.std,
        )


def state_of(trial: FrozenTrial) -> str:
    """Return the name of a trial's state; EXCLUDED for one that the user has excluded."""
    return trial.state.name if TrialRecord(trial).excluded is None else "EXCLUDED"


def curve(trial: FrozenTrial) -> dict[int, float]:
    """Return the finite reports of a trial by their steps, in order."""
    reports = sorted(trial.intermediate_values.items())
    return {step: value for step, value in reports if math.isfinite(value)}


def saved_epochs(trials: Sequence[FrozenTrial], epochs: int) -> int:
    """Return how many epochs the pruned trials did not run."""
    pruned = [one for one in map(TrialRecord, trials) if one.ending is Ending.PRUNED]
    left = ((one.epochs or epochs) - one.epochs_run for one in pruned if one.epochs_run)
    # A trial of an earlier search may have had more epochs than this one allows.
    return sum(max(0, number) for number in left)
