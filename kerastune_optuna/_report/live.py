"""The live display of a search: a thread reads the study now and then, and draws it."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import optuna
import rich.live
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from kerastune_optuna._report.display import BLOCKS, Frame, Plan
from kerastune_optuna._report.progress import Both, Lines, Progress
from kerastune_optuna._report.text import Outlet, Shown, for_notebook, printable
from kerastune_optuna._signals import LOG
from kerastune_optuna._storage import database, one_try
from kerastune_optuna._study import TrialRecord

Draw: TypeAlias = Callable[[Frame], None]
Place: TypeAlias = Callable[[], AbstractContextManager[Draw]]

_TICK = 0.5  # seconds between two pictures
_REST = 20  # after reading the study, the thread rests for this many times as long
_terminal = threading.Lock()  # if two searches run in threads of one process, only one draws


def progress_for(
    verbose: str | int,
    study: optuna.Study,
    storage: BaseStorage,
    plan: Plan,
    n_trials: int | None,
) -> Progress:
    """Return the object that shows the user how a search goes, and logs it if logging is set up.

    Args:
        verbose: 0, 1, 2 or "auto", as search() takes it.
        study: The study that is searched.
        storage: Its storage.
        plan: The plan of the search.
        n_trials: The size that the study should reach; None for no limit.
    """
    may_draw = verbose not in (0, 2) and not database.is_of_one_thread(storage)
    shown = Progress()
    if may_draw and (place := _place()) is not None:
        shown = Live(study, plan, n_trials, place)
    elif verbose != 0:
        shown = Lines(study, plan.objective, n_trials)
    if not LOG.isEnabledFor(logging.INFO):
        return shown
    log = partial(LOG.info, "%s: %s", study.study_name)
    return Both(shown, Lines(study, plan.objective, n_trials, log))


def _place() -> Place | None:
    """Return where a picture can be redrawn, in a notebook or terminal; None if nowhere."""
    console = Console()
    if console.is_jupyter:
        return _in_a_notebook
    # If FORCE_COLOR is set, rich treats a pipe as a terminal. Few encodings have our blocks.
    can_draw = console.is_interactive and console.file.isatty() and printable(BLOCKS) == BLOCKS
    return _in_a_terminal if can_draw else None


class Live(Lines):
    """Draw a search while it runs, and print lines about failed trials above the picture.

    Args:
        study: The study that is searched.
        plan: The plan of the search.
        n_trials: The size that the study should reach; None for no limit.
        place: Where to draw.
    """

    def __init__(self, study: optuna.Study, plan: Plan, n_trials: int | None, place: Place) -> None:
        super().__init__(study, plan.objective, n_trials)
        self._place = place
        self._frame = Frame(plan, (), 0.0)
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
        """Do nothing: the thread shows how a trial ended."""

    def catch_up(self) -> None:
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
                trials = self._study.get_trials(deepcopy=False)
        except Exception:  # each kind of storage has its own errors, with no common base class
            return  # the search uses the same storage, and raises an error itself
        self._frame = replace(self._frame, trials=trials)
        for trial in trials:
            is_new = trial.number not in self._told and TrialRecord(trial).has_begun
            if trial.state is TrialState.FAIL and is_new:
                super().trial(trial)


@contextmanager
def _in_a_terminal() -> Iterator[Draw]:
    """Yield a function that draws below all that Python prints; the last picture stays."""
    if not _terminal.acquire(blocking=False):
        yield lambda frame: None
        return
    try:
        with rich.live.Live(
            # Without markup: a text may be printed and flushed without a line end.
            console=Console(
                file=Outlet(sys.stdout),  # type: ignore[arg-type] # rich needs no more than it has
                markup=False,
                emoji=False,
                highlight=False,
            ),
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
