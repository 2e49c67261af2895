"""The live display of a search: a thread looks at the study now and then, and draws it."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias

import optuna
import rich.live
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from kerastune_optuna._report.display import BLOCKS, Frame, Plan
from kerastune_optuna._report.progress import Lines, Progress
from kerastune_optuna._report.text import for_notebook, printable
from kerastune_optuna._storage import database, one_try

Draw: TypeAlias = Callable[[Frame], None]
Place: TypeAlias = Callable[[], AbstractContextManager[Draw]]

_TICK = 0.5  # seconds between two pictures
_REST = 20  # a look at the study that took long is followed by a rest so many times as long
_terminal = threading.Lock()  # two searches in threads of one process: one of them draws


def progress_for(
    verbose: str | int,
    study: optuna.Study,
    storage: BaseStorage,
    plan: Plan,
    n_trials: int | None,
) -> Progress:
    """Return the object that shows the user how a search goes.

    Args:
        verbose: 0, 1, 2 or "auto", as search() takes it.
        study: The study that is searched.
        storage: Its storage.
        plan: What the search is to do.
        n_trials: The number of trials that the user asked for.
    """
    if verbose == 0:
        return Progress()
    place = None if verbose == 2 or database.is_of_one_thread(storage) else _place()
    if place is None:
        return Lines(study, plan.objective, n_trials)
    return Live(study, plan, n_trials, place)


def _place() -> Place | None:
    """Return where a picture can be drawn anew: in a notebook or a terminal; else None."""
    console = Console()
    if console.is_jupyter:
        return _in_a_notebook
    # To rich a pipe is a terminal where FORCE_COLOR is set; and few encodings have our blocks.
    can_draw = console.is_interactive and console.file.isatty() and printable(BLOCKS) == BLOCKS
    return _in_a_terminal if can_draw else None


class Live(Lines):
    """Draw a search while it runs, and tell of trials that fail above the picture.

    Args:
        study: The study that is searched.
        plan: What the search is to do.
        n_trials: The size that the study is to reach; None for no limit.
        place: Where to draw.
    """

    def __init__(self, study: optuna.Study, plan: Plan, n_trials: int | None, place: Place) -> None:
        super().__init__(study, plan.objective, n_trials)
        self._place = place
        self._frame = Frame(plan, (), 0.0)
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Draw from a thread of its own, which training cannot hold up."""
        began = time.monotonic()
        with super().running(), self._place() as draw:
            # IPython knows by the context to which cell a picture belongs.
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
                    if not thread.is_alive():  # else it hangs in the storage, as we would
                        self._look()
                    draw(replace(self._frame, seconds=time.monotonic() - began, is_over=True))

    def trial(self, trial: FrozenTrial) -> None:
        """Leave it to the thread to show how a trial ended."""

    def catch_up(self) -> None:
        """Leave it to the thread to look for trials that ended."""

    def _keep_drawing(self, draw: Draw, began: float) -> None:
        while not self._over.is_set():
            looked = time.monotonic()
            self._look()
            took = time.monotonic() - looked
            if not self._over.is_set():  # else running() draws the last picture
                draw(replace(self._frame, seconds=time.monotonic() - began))
            self._over.wait(max(_TICK, _REST * took))

    def _look(self) -> None:
        """Read the trials; where they cannot be read, the last picture of them stays."""
        try:
            with one_try():
                trials = self._study.get_trials(deepcopy=False)
        except Exception:  # each kind of storage has errors of its own, with no base in common
            return  # the search uses the same storage, and raises what is wrong with it
        self._frame = replace(self._frame, trials=trials)
        for trial in trials:
            if trial.state is TrialState.FAIL and trial.number not in self._told:
                super().trial(trial)


@contextmanager
def _in_a_terminal() -> Iterator[Draw]:
    """Give a function that draws below all that Python prints meanwhile; the last picture stays."""
    if not _terminal.acquire(blocking=False):
        yield lambda frame: None
        return
    try:
        with rich.live.Live(
            # A text that is printed and flushed without a line end is not to be taken for markup.
            console=Console(markup=False, emoji=False, highlight=False),
            auto_refresh=False,
            redirect_stderr=sys.stderr.isatty(),  # what goes to a file is to go there
        ) as live:
            yield lambda frame: live.update(frame, refresh=True)
    finally:
        _terminal.release()


@contextmanager
def _in_a_notebook() -> Iterator[Draw]:
    """Give a function that draws below the cell, in place of its last picture."""
    from IPython.display import display  # a notebook has it installed

    show: Any = display  # which has no types
    handle = show({"text/plain": ""}, raw=True, display_id=True)
    yield lambda frame: handle.update(for_notebook(frame), raw=True)
