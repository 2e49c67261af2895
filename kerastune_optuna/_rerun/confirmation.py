"""The result of confirm(): rank configurations by their means, and estimate what was luck."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.text import Text
from scipy import stats

from kerastune_optuna import _check
from kerastune_optuna._report import drawn, params_line, printable, short, table_of_trials
from kerastune_optuna._rerun.executions import Key, executions
from kerastune_optuna._signals import readable
from kerastune_optuna._study import Objective

_CONFIDENCE = 0.95
_LEAST = 2  # the number of values that a standard deviation needs


@dataclass(frozen=True)
class Confirmed:
    """One configuration that confirm() trained again, with the values of its executions.

    Args:
        search_trial: The trial of the search that had the configuration.
        values: The values of the completed executions.
        failed: How many executions failed.
        missing: How many executions have not ended.
    """

    search_trial: FrozenTrial
    values: Sequence[float]
    failed: int = 0
    missing: int = 0

    def __repr__(self) -> str:
        """Return one line, without all that the trial has on record."""
        mean = f"mean {short(self.mean)} of {_check.count(len(self.values), 'execution')}"
        return readable(f"<trial {self.number}: {mean}, {params_line(self.params)}>")

    @property
    def number(self) -> int:
        """The number of the search's trial."""
        return self.search_trial.number

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, as a dict."""
        return dict(self.search_trial.params)

    @property
    def searched(self) -> float:
        """The value that the search reported."""
        return float(self.search_trial.values[0])

    @property
    def mean(self) -> float:
        """The mean of the values; NaN if there are none."""
        return statistics.mean(self.values) if self.values else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean over seeds, by Student's t (Biometrika 6, 1908).

        It applies to the validation data that was passed: other rows would shift all values alike.
        Both ends are NaN if there are fewer than two values.
        """
        if len(self.values) < _LEAST:
            return math.nan, math.nan
        quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(self.values) - 1))
        half = quantile * self.spread / math.sqrt(len(self.values))
        return self.mean - half, self.mean + half

    @property
    def spread(self) -> float:
        """The standard deviation of the values; NaN if there are fewer than two."""
        # The standard library computes it exactly: for equal values it is 0, without rounding.
        return statistics.stdev(self.values) if len(self.values) >= _LEAST else math.nan


@dataclass(frozen=True)
class Confirmation:
    """The result of confirm(): the configurations, ranked by their means. It prints as a table.

    Args:
        study_name: The name of the study of the executions.
        objective: The objective that was measured, with its direction.
        ranking: The configurations, the best mean first; those with failures come last.
    """

    study_name: str
    objective: Objective
    ranking: Sequence[Confirmed]

    @property
    def winner(self) -> Confirmed:
        """The configuration with the best mean."""
        return self.ranking[0]

    @property
    def missing(self) -> int:
        """How many executions have not ended."""
        return sum(row.missing for row in self.ranking)

    @property
    def is_decided(self) -> bool:
        """Whether there is a winner, a configuration with at least two completed executions."""
        return len(self.winner.values) >= _LEAST

    @property
    def is_clear(self) -> bool:
        """Whether the winner beats every other configuration by more than chance explains.

        Welch's t-test (Biometrika 34, 1947) compares the winner with each of them, two-sided at
        5 %. Although the data selected the winner, no correction is needed: see Hung and Fithian,
        "Rank verification for exponential families" (Annals of Statistics 47, 2019).
        """
        return not self._ties

    @property
    def luck(self) -> float:
        """How much better the search's best value was than the mean of the same configuration."""
        lucky = self._lucky
        return self.objective.cost(lucky.mean) - self.objective.cost(lucky.searched)

    @property
    def _lucky(self) -> Confirmed:
        """The configuration that the search found best."""
        cost = self.objective.cost
        return min(self.ranking, key=lambda row: (cost(row.searched), row.number))

    @property
    def _rivals(self) -> list[Confirmed]:
        """The other configurations; if the winner has no failures, only those without failures."""
        return [row for row in self.ranking[1:] if bool(row.failed) <= bool(self.winner.failed)]

    @property
    def _ties(self) -> list[Confirmed]:
        return [row for row in self._rivals if not self.p_value(row) < 1 - _CONFIDENCE]

    def p_value(self, row: Confirmed) -> float:
        """Return how likely equal configurations are to differ as much as these only by chance.

        Args:
            row: The configuration to compare with the winner.

        Returns:
            The two-sided p-value of Welch's t-test; NaN if the row has fewer than two values.
        """
        winner = self.winner
        if len(row.values) < _LEAST:
            return math.nan
        if not winner.spread and not row.spread:  # SciPy would divide by zero
            return float(winner.mean == row.mean)
        ours, its = ((one.mean, one.spread, len(one.values)) for one in (winner, row))
        return float(stats.ttest_ind_from_stats(*ours, *its, equal_var=False).pvalue)

    def __str__(self) -> str:
        """Return the table and the conclusions from it, ready to print."""
        headings = "rank", "trial", "mean", "95 % interval", "of", "p", "in search"
        table = table_of_trials(*headings)
        for rank, row in enumerate(self.ranking, start=1):
            low, high = row.interval
            table.add_row(
                str(rank),
                str(row.number),
                short(row.mean),
                f"{short(low)} to {short(high)}",
                f"{len(row.values)}" + (f", {row.failed} failed" if row.failed else ""),
                "" if row is self.winner else f"{self.p_value(row):.2f}",
                short(row.searched),
                params_line(row.search_trial.params),
            )
        aim = f"{self.objective.direction} {self.objective.name}"
        title = Text(f" Study {self.study_name!r}: {aim}")
        return printable(drawn(title, table, *self._lines(), force_terminal=False).rstrip())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def _lines(self) -> Iterator[Text]:
        yield Text(f" {self._verdict()}")
        lucky = self._lucky
        if lucky.values:
            by = f"{short(abs(self.luck))} {'better' if self.luck > 0 else 'worse'}"
            so = "that much of it was luck" if self.luck > 0 else "it was not luck"
            yield Text(
                f" The search's best value, {short(lucky.searched)} of trial {lucky.number}, was "
                f"{by} than the mean of its executions: {so}."
            )

    def _verdict(self) -> str:
        """Return a sentence that names the winner and says how certain that is."""
        name = f"Trial {self.winner.number}"
        if not self.ranking[1:]:
            return f"{name} was confirmed alone."
        if not self._rivals:
            return f"{name} wins: it is the only one of which no execution failed."
        if self.is_clear:
            return f"{name} is the clear winner (Welch's t-test, p < 0.05)."
        ties = " and ".join(str(row.number) for row in self._ties)
        return f"{name} leads, but that is a tie with {ties} (Welch's t-test, p >= 0.05)."


def confirmation_of(
    study: optuna.Study,
    chosen: Sequence[FrozenTrial],
    asked: Collection[Key],
    objective: Objective,
) -> Confirmation:
    """Return the results of the executions of some configurations so far.

    Args:
        study: The study of executions.
        chosen: The trials of the search that had the configurations.
        asked: The keys of the requested executions. An execution that only an earlier confirm()
            requested does not count as missing.
        objective: The objective of the search and of its executions.
    """
    laid_out = executions(study)
    rows = [_row(trial, laid_out, asked) for trial in chosen]

    def place(row: Confirmed) -> tuple[bool, bool, float, int]:
        too_few = len(row.values) < _LEAST
        return too_few, row.failed > 0, 0.0 if too_few else objective.cost(row.mean), row.number

    return Confirmation(study.study_name, objective, tuple(sorted(rows, key=place)))


def _row(
    trial: FrozenTrial, laid_out: Mapping[Key, FrozenTrial], asked: Collection[Key]
) -> Confirmed:
    own = {key: one for key, one in laid_out.items() if key[0] == trial.number}
    ended = {key: one for key, one in own.items() if one.state.is_finished()}
    missing = {key for key in asked if key[0] == trial.number} - ended.keys()
    # A training that diverged is PRUNED, or FAIL if it did so at once.
    values = tuple(one.values[0] for one in ended.values() if one.state is TrialState.COMPLETE)
    return Confirmed(trial, values, len(ended) - len(values), len(missing))
