"""The live display of a search: a thread looks at the study now and then, and draws it."""

from __future__ import annotations

import contextvars
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from rich.console import Console

from kerastune_optuna._report.display import Frame, Plan
from kerastune_optuna._report.progress import Lines, Progress, line_of
from kerastune_optuna._report.terminal import at_the_bottom, can_draw
from kerastune_optuna._report.text import say
from kerastune_optuna._storage import database, one_try

Draw: TypeAlias = Callable[[Frame], None]
Place: TypeAlias = Callable[[], AbstractContextManager[Draw]]

_TICK = 0.5  # seconds between two pictures
_REST = 20  # a look at the study that took long is followed by a rest so many times as long
_NOTEBOOK_WIDTH = 100  # columns
_HTML = "<pre style=\"line-height:1.2;font-family:Menlo,'DejaVu Sans Mono',monospace\">{code}</pre>"


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
    lines = Lines(study, plan.objective, n_trials)
    place = None if verbose == 2 or database.is_of_one_thread(storage) else _place()
    return lines if place is None else Live(study, plan, lines, place)


def _place() -> Place | None:
    """Return where a picture can be drawn anew: in a notebook or a terminal; else None."""
    console = Console()
    if console.is_jupyter:
        return _in_a_notebook
    return at_the_bottom if can_draw() and not console.is_dumb_terminal else None


class Live(Progress):
    """Draw a search while it runs.

    Args:
        study: The study that is searched.
        plan: What the search is to do.
        lines: Says how it starts.
        place: Where to draw.
    """

    def __init__(self, study: optuna.Study, plan: Plan, lines: Lines, place: Place) -> None:
        self._study = study
        self._lines = lines
        self._place = place
        self._frame = Frame(plan, (), 0.0)
        self._told: set[int] = set()
        self._over = threading.Event()
        self._next_look = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Draw from a thread of its own, which training cannot hold up."""
        began = time.monotonic()
        trials = self._study.get_trials(deepcopy=False)
        self._told = {trial.number for trial in trials if trial.state.is_finished()}
        with self._lines.running(), self._place() as draw:
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

    def tell(self, line: str | None) -> None:
        """Print a line above the picture."""
        self._lines.tell(line)

    def _keep_drawing(self, draw: Draw, began: float) -> None:
        while not self._over.is_set():
            now = time.monotonic()
            if now >= self._next_look:
                self._look()
                self._next_look = now + _REST * (time.monotonic() - now)
            if self._over.is_set():
                return  # the search ended during the look: running() draws the last picture
            draw(replace(self._frame, seconds=now - began))
            self._over.wait(_TICK)

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
                self._told.add(trial.number)
                say(line_of(trial, self._frame.plan.objective))


@contextmanager
def _in_a_notebook() -> Iterator[Draw]:
    """Give a function that draws below the cell, in place of its last picture."""
    from IPython.display import display  # a notebook has it installed

    show: Any = display  # which has no types
    handle: Any = None

    def draw(frame: Frame) -> None:
        nonlocal handle
        bundle = as_notebook_output(frame)
        if handle is None:
            handle = show(bundle, raw=True, display_id=True)
        else:
            handle.update(bundle, raw=True)

    yield draw


def as_notebook_output(frame: Frame) -> dict[str, str]:
    """Return a picture as HTML, in colors for light and dark pages, and as text."""
    console = Console(
        file=io.StringIO(), record=True, width=_NOTEBOOK_WIDTH, height=60, force_jupyter=False
    )
    console.print(frame)
    html = console.export_html(inline_styles=True, code_format=_HTML, clear=False)
    return {"text/html": html, "text/plain": console.export_text().rstrip()}
