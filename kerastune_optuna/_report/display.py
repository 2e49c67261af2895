"""The picture that a live display shows: a search at one moment, drawn from its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kerastune_optuna._check import count
from kerastune_optuna._report.facts import saved_epochs
from kerastune_optuna._report.text import duration, params_line
from kerastune_optuna._study import Objective, TrialRecord, opening, ranking

BLOCKS = "▁▂▃▄▅▆▇█"
_LEAST_WORK = 0.5  # trials: too little for an estimate, since the first epoch takes longest


@dataclass(frozen=True)
class Plan:
    """Hold the aim and the size of a search, and how many trials were done before it.

    Args:
        study_name: The name of the study.
        objective: Its objective.
        size: The number of trials that it should have; None for no limit.
        epochs: How many epochs a trial runs that is not stopped early.
        seconds: The time limit of the search in seconds; None for no limit.
        done: How many trials were done when the search began.
        others: Further objectives of the study, if there are several.
    """

    study_name: str
    objective: Objective
    size: int | None
    epochs: int
    seconds: float | None = None
    done: int = 0
    others: Sequence[Objective] = ()


@dataclass(frozen=True)
class Frame:
    """A picture of a search that fills the room that there is.

    Args:
        plan: The plan of the search.
        trials: The trials of the study.
        seconds: How long the search has run.
        is_over: Whether it has ended.
    """

    plan: Plan
    trials: Sequence[FrozenTrial]
    seconds: float
    is_over: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the head, and a line for each running trial."""
        width = options.max_width
        plan = self.plan
        aims = ", ".join(one.aim for one in (plan.objective, *plan.others))
        yield _line(f"Study {plan.study_name!r}: {aims}", "bold")
        head = self._head(width)
        yield head
        if self._running and not self.is_over:
            yield self._rows(width, most=max(1, options.size.height - head.row_count - 2))

    @cached_property
    def _running(self) -> list[FrozenTrial]:
        return self._of(TrialState.RUNNING)

    @cached_property
    def _n_done(self) -> int:
        return len(self._of(*opening.DONE))

    @cached_property
    def _best(self) -> FrozenTrial | None:
        return next(iter(ranking.ranked(self.trials, self.plan.objective, 1)), None)

    def _of(self, *states: TrialState) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state in states]

    def _head(self, width: int) -> Table:
        head = Table.grid(padding=(0, 2, 0, 0))
        head.add_column(style="dim", no_wrap=True, min_width=6)
        head.add_column(no_wrap=True, overflow="ellipsis")
        head.add_row("trials", self._bar(width))
        head.add_row("best", self._best_line())
        head.add_row("saved", self._saved_line())
        failed = sum(TrialRecord(one).ending.works is False for one in self.trials)
        if failed:
            head.add_row("failed", _line(f"{failed}", "red"))
        return head

    def _bar(self, width: int) -> RenderableType:
        size, done = self.plan.size, self._n_done
        if size is None:
            return _line(f"{done} {self._time()}")
        row = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(size, done, width // 4, complete_style="cyan", finished_style="green")
        row.add_row(bar, _line(f"{done} of {size} {self._time()}"))
        return row

    def _time(self) -> str:
        so_far = f"in {duration(self.seconds)}"
        left = None if self.is_over else self._seconds_left()
        return so_far if left is None else f"{so_far}, about {duration(left)} left"

    def _seconds_left(self) -> float | None:
        """Estimate the time to the end; None if it is too early for an estimate."""
        plan, left = self.plan, []
        begun = sum(self._part_done(trial) for trial in self._running)
        work = self._n_done - plan.done + begun
        if plan.seconds is not None:
            left.append(max(0.0, plan.seconds - self.seconds))
        if plan.size is not None and work >= _LEAST_WORK:
            left.append(self.seconds / work * max(0.0, plan.size - self._n_done - begun))
        return min(left, default=None)

    def _part_done(self, trial: FrozenTrial) -> float:
        return min(1.0, _last_epoch(trial) / self._epochs_of(trial))

    def _epochs_of(self, trial: FrozenTrial) -> int:
        """Return how many epochs a trial may run, by its builder or else by the search."""
        return TrialRecord(trial).epochs or self.plan.epochs

    def _best_line(self) -> Text:
        if self._best is None:
            return _line("none yet", "dim")
        found, record = f" in trial {self._best.number}", TrialRecord(self._best)
        if record.std is not None:
            found = f" ± {record.std:.2g}{found}"
        elif record.best_epoch is not None:  # it is None for a trial that was added by hand
            found += f", epoch {record.best_epoch + 1}"
        line = _line(_number(self.plan.objective.value_of(self._best)), "bold green")
        return line.append(found, style="not bold default")

    def _saved_line(self) -> Text:
        saved = saved_epochs(self.trials, self.plan.epochs)
        return _line(f"{count(saved, 'epoch')}, {len(self._of(TrialState.PRUNED))} pruned")

    def _rows(self, width: int, most: int) -> Table:
        """Return a table with a line for each running trial, or for as many as fit."""
        shown = self._running if len(self._running) <= most else self._running[: most - 1]
        curve_width = min(24, width // 6)
        rows = Table.grid(padding=(0, 2, 0, 0), expand=True)
        rows.add_column(no_wrap=True, style="cyan")
        rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for column in ("epoch", "value"):
            rows.add_column(no_wrap=True, justify="right", min_width=len(column) + 2)
        rows.add_column(no_wrap=True, width=curve_width, style="cyan")
        for trial in shown:
            rows.add_row(*self._row(trial, curve_width))
        if hidden := len(self._running) - len(shown):
            rows.add_row("", _line(f"and {hidden} more", "dim"))
        return rows

    def _row(self, trial: FrozenTrial, curve_width: int) -> list[Text]:
        values = [value for _, value in sorted(trial.intermediate_values.items())]
        epoch = _last_epoch(trial)
        # A builder's own fit may train for longer.
        most = max(epoch, self._epochs_of(trial))
        return [
            _line(f"trial {trial.number}"),
            _line(params_line(trial.params)),
            _line(f"epoch {epoch:>{len(f'{most}')}}/{most}"),
            _line(_number(values[-1]) if values else ""),
            _line(curve(values, curve_width)),
        ]


def curve(values: Sequence[float], width: int) -> str:
    """Return the values as a row of blocks, from the lowest block to the highest."""
    if len(values) > width:
        values = [values[(place + 1) * len(values) // width - 1] for place in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    step = (high - low) / (len(BLOCKS) - 1) or 1.0
    return "".join(
        BLOCKS[round((value - low) / step)] if math.isfinite(value) else " " for value in values
    )


def _last_epoch(trial: FrozenTrial) -> int:
    return 0 if trial.last_step is None else trial.last_step + 1


def _number(value: float) -> str:
    return f"{value:#.4g}".rstrip(".")


def _line(text: str, style: str = "") -> Text:
    # Text, not str: rich would read brackets in a name as markup.
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
