"""The live display of a search: a thread reads the study now and then, and draws it."""

from __future__ import annotations

import contextvars
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import optuna
import rich.live
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kerastune_optuna import _optuna
from kerastune_optuna._check import count
from kerastune_optuna._report.facts import saved_epochs
from kerastune_optuna._report.progress import Lines, Plan, Progress
from kerastune_optuna._report.text import (
    Shown,
    console_on,
    duration,
    for_notebook,
    params_line,
    printable,
)
from kerastune_optuna._storage import Location, one_try
from kerastune_optuna._study import Ranking, StudyRecord, TrialRecord

BLOCKS = "▁▂▃▄▅▆▇█"
_LEAST_WORK = 0.5  # trials: too little for an estimate, since the first epoch takes longest
_TICK = 0.5  # seconds between two pictures
_REST = 20  # after reading the study, the thread rests for this many times as long
_terminal = threading.Lock()  # if two searches run in threads of one process, only one draws


@dataclass(frozen=True)
class Frame:
    """A picture of a search that fills the room that there is.

    Args:
        plan: The plan of the search.
        trials: The trials of the study.
        seconds: How long the search has run.
        is_over: Whether it has ended.
        done: How many trials were done when it began.
    """

    plan: Plan
    trials: Sequence[FrozenTrial]
    seconds: float
    is_over: bool = False
    done: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the head, and a line for each running trial."""
        width, plan = options.max_width, self.plan
        # Here and below Text, not str: rich would read brackets in a name as markup.
        title = f"Study {plan.study_name!r}: {plan.objectives.aim}"
        yield Text(title, "bold", no_wrap=True, overflow="ellipsis")
        running = [trial for trial in self.trials if trial.state is TrialState.RUNNING]
        head = self._head(running, width)
        yield head
        if running and not self.is_over:
            yield self._rows(running, width, most=max(1, options.size.height - head.row_count - 2))

    def _head(self, running: Sequence[FrozenTrial], width: int) -> Table:
        """Return a table of what holds for the whole search."""
        endings = [TrialRecord(trial).ending for trial in self.trials]
        pruned = sum(trial.state is TrialState.PRUNED for trial in self.trials)
        saved = saved_epochs(self.trials, self.plan.epochs_in_all)
        failed = sum(ending.works is False for ending in endings)
        head = Table.grid(padding=(0, 2, 0, 0))
        head.add_column(style="dim", no_wrap=True, min_width=6)
        head.add_column(no_wrap=True, overflow="ellipsis")
        head.add_row("trials", self._bar(sum(one.counts for one in endings), running, width))
        head.add_row("best", self._best())
        head.add_row("saved", f"{count(saved, 'epoch')}, {pruned} pruned")
        for gain in TrialRecord.latest_gains(self.trials, 1):
            head.add_row("gain", f"{gain:.1g} expected of another trial")
        if failed:
            head.add_row("failed", Text(f"{failed}", "red"))
        return head

    def _bar(self, done: int, running: Sequence[FrozenTrial], width: int) -> RenderableType:
        """Return how many trials are done, and the time, behind a bar if there is a size."""
        size, time = self.plan.size, f"in {duration(self.seconds)}"
        left = None if self.is_over else self._seconds_left(done, running)
        if left is not None:
            time = f"{time}, about {duration(left)} left"
        if size is None:
            return Text(f"{done} {time}")
        bar = ProgressBar(size, done, width // 4, complete_style="cyan", finished_style="green")
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(bar, Text(f"{done} of {size} {time}", no_wrap=True, overflow="ellipsis"))
        return row

    def _seconds_left(self, done: int, running: Sequence[FrozenTrial]) -> float | None:
        """Estimate the time to the end; None if it is too early for an estimate."""
        plan, left = self.plan, []
        begun = sum(min(1.0, _last_epoch(one) / self._epochs_of(one)) for one in running)
        work = done - self.done + begun
        if plan.seconds is not None:
            left.append(max(0.0, plan.seconds - self.seconds))
        if plan.size is not None and work >= _LEAST_WORK:
            left.append(self.seconds / work * max(0.0, plan.size - done - begun))
        return min(left, default=None)

    def _epochs_of(self, trial: FrozenTrial) -> int:
        """Return how many epochs a trial may run, by its builder or else by the search."""
        return TrialRecord(trial).epochs or self.plan.epochs_in_all

    def _best(self) -> Text:
        """Return the best value, and where it was found."""
        objective = self.plan.objectives.watched
        best = next(iter(Ranking.by(objective, self.trials, 1)), None)
        if best is None:
            return Text("none yet", "dim")
        found, record = f" in trial {best.number}", TrialRecord(best)
        if record.std is not None:
            found = f" ± {record.std:.2g}{found}"
        elif record.best_epoch is not None:  # it is None for a trial that was added by hand
            found += f", epoch {record.best_epoch + 1}"
        line = Text(_number(objective.value_of(best)), "bold green")
        return line.append(found, style="not bold default")

    def _rows(self, running: Sequence[FrozenTrial], width: int, most: int) -> Table:
        """Return a table with a line for each running trial, or for as many as fit."""
        shown = running if len(running) <= most else running[: most - 1]
        curve_width = min(24, width // 6)
        rows = Table.grid(padding=(0, 2, 0, 0), expand=True)
        rows.add_column(no_wrap=True, style="cyan")
        rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for column in ("epoch", "value"):
            rows.add_column(no_wrap=True, justify="right", min_width=len(column) + 2)
        rows.add_column(no_wrap=True, width=curve_width, style="cyan")
        for trial in shown:
            values = [value for _, value in sorted(trial.intermediate_values.items())]
            epoch = _last_epoch(trial)
            # A builder's own fit may train for longer.
            epochs = max(epoch, self._epochs_of(trial))
            rows.add_row(
                f"trial {trial.number}",
                Text(params_line(trial.params)),
                f"epoch {epoch:>{len(f'{epochs}')}}/{epochs}",
                _number(values[-1]) if values else "",
                curve(values, curve_width),
            )
        if hidden := len(running) - len(shown):
            rows.add_row("", Text(f"and {hidden} more", "dim"))
        return rows


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


Draw: TypeAlias = Callable[[Frame], None]
Place: TypeAlias = Callable[[], AbstractContextManager[Draw]]


def progress_for(verbose: str | int, study: optuna.Study, plan: Plan) -> Progress:
    """Return what shows the user how a search goes: a picture, or lines where none can be drawn.

    Args:
        verbose: 1, 2 or "auto", as search() takes it.
        study: The study that is searched.
        plan: The plan of the search.
    """
    if verbose != 2 and not Location(_optuna.storage_of(study)).is_of_one_thread:
        console = Console()
        if console.is_jupyter:
            return Live(study, plan, _in_a_notebook)
        # If FORCE_COLOR is set, rich treats a pipe as a terminal. Few encodings have our blocks.
        if console.is_interactive and console.file.isatty() and printable(BLOCKS) == BLOCKS:
            return Live(study, plan, _in_a_terminal)
    return Lines(study, plan)


class Live(Lines):
    """Draw a search while it runs, and print lines about failed trials above the picture.

    Args:
        study: The study that is searched.
        plan: The plan of the search.
        place: Where to draw.
    """

    def __init__(self, study: optuna.Study, plan: Plan, place: Place) -> None:
        super().__init__(study, plan)
        self._place = place
        self._frame = Frame(plan, (), 0.0, done=len(StudyRecord(study).finished))
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Draw in a separate thread, which training cannot hold up."""
        began = time.monotonic()
        with super().running(), self._place() as draw:
            # By the context, IPython knows to which cell a picture belongs.
            context = contextvars.copy_context()
            thread = threading.Thread(
                target=context.run, args=(self._keep_drawing, draw, began), daemon=True
            )
            thread.start()
            try:
                yield
            finally:
                self._over.set()
                thread.join(timeout=1)
                with suppress(Exception):  # whatever it is, it must not hide how the search ended
                    if not thread.is_alive():  # otherwise it hangs in the storage, as we would
                        self._look()
                    draw(replace(self._frame, seconds=time.monotonic() - began, is_over=True))

    def trial(self, trial: FrozenTrial) -> None:
        """Write how a trial failed; the picture shows the others."""
        if trial.state is TrialState.FAIL:
            super().trial(trial)

    def catch_up(self, *, waits: bool = False) -> None:
        """Do nothing: the thread looks for trials that ended."""

    def _keep_drawing(self, draw: Draw, began: float) -> None:
        while not self._over.is_set():
            looked = time.monotonic()
            self._look()
            took = time.monotonic() - looked
            if not self._over.is_set():  # otherwise running() draws the last picture
                draw(replace(self._frame, seconds=time.monotonic() - began))
            self._over.wait(max(_TICK, _REST * took))

    def _look(self) -> None:
        """Read the trials; if that fails, keep those that were read before."""
        try:
            with one_try():
                trials = self.study.get_trials(deepcopy=False)
        except Exception:  # each kind of storage has its own errors, with no common base class
            return  # the search uses the same storage, and raises an error itself
        self._frame = replace(self._frame, trials=trials)
        self._receive(trials)


@contextmanager
def _in_a_terminal() -> Iterator[Draw]:
    """Yield a function that draws below all that Python prints; the last picture stays."""
    if not _terminal.acquire(blocking=False):
        yield lambda frame: None
        return
    try:
        with rich.live.Live(
            console=console_on(sys.stdout),
            auto_refresh=False,
            redirect_stderr=sys.stderr.isatty(),  # if stderr is a file, lines should go there
        ) as live:
            yield lambda frame: live.update(Shown(frame), refresh=True)
    finally:
        _terminal.release()


@contextmanager
def _in_a_notebook() -> Iterator[Draw]:
    """Yield a function that draws below the cell, in place of its last picture."""
    from IPython.display import display  # a notebook has it installed

    show: Any = display  # it has no types
    handle = show({"text/plain": ""}, raw=True, display_id=True)
    yield lambda frame: handle.update(for_notebook(frame), raw=True)
