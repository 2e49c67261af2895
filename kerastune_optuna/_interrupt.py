"""Ctrl-C and SIGTERM: the first asks a search to end soon, the second ends it at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_GRACE = 5  # seconds after which the first signal counts as the second: a batch may last for hours


class _Listener:
    """Remember the first signal; interrupt at the second, or when the first had no effect."""

    def __init__(self, *, escalates: bool) -> None:
        self._escalates = escalates
        self.received: int | None = None
        self._asked = threading.Event()
        self._over = threading.Event()

    def handle(self, number: int, _frame: object) -> None:
        """Take a signal, in the main thread as Python does."""
        if self.received is None:
            self.received = number
            self._asked.set()
        elif self._escalates:
            raise KeyboardInterrupt

    def watch(self) -> None:
        """Send the signal a second time where the first one did not end the search."""
        self._asked.wait()
        if not self._escalates:
            return
        while not self._over.wait(_GRACE):
            if not (underway := list(_underway)):
                main = threading.main_thread().ident or 0
                signal.pthread_kill(main, self.received or signal.SIGINT)
                return
            _tell("Waiting until what was trained is saved; a second Ctrl-C ends it at once.")
            for one in underway:
                one.wait()

    def end(self) -> None:
        """Let the watching thread go."""
        self._over.set()
        self._asked.set()


_listeners: list[_Listener] = []  # a search may run inside another's builder
_underway: list[threading.Event] = []  # each is set when something is finished
_marks: list[Path] = []  # a file that is there while something is being finished


def requested() -> bool:
    """Whether a signal asked this process to end its search."""
    return any(listener.received is not None for listener in _listeners)


@contextmanager
def listening(
    how_to_go_on: str,
    signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM),
    *,
    escalates: bool = True,
) -> Iterator[None]:
    """Let the first of the signals ask, and raise when the search has ended by it.

    Args:
        how_to_go_on: The line that is printed for the user then; nothing where it is empty.
        signals: Which signals ask.
        escalates: Whether a second signal, or a first one without effect, interrupts at once.

    Raises:
        KeyboardInterrupt: Ctrl-C ended the search.
        SystemExit: SIGTERM did; the exit code is the one that a shell gives for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python leaves signals to the main thread
        return
    listener = _Listener(escalates=escalates)
    before = {number: signal.signal(number, listener.handle) for number in signals}
    _listeners.append(listener)
    threading.Thread(target=listener.watch, daemon=True).start()
    try:
        yield
        if listener.received is not None:
            raise KeyboardInterrupt
    except BaseException as error:
        if listener.received is None and not isinstance(error, KeyboardInterrupt):
            raise
        _tell(how_to_go_on)
        if listener.received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM) from None
        raise KeyboardInterrupt from None
    finally:
        listener.end()
        _listeners.remove(listener)
        _restore(before)


@contextmanager
def finishing() -> Iterator[None]:
    """Finish something, like a backup, which a first signal is not to end however long it takes."""
    ended = threading.Event()
    try:
        _underway.append(ended)
        with suppress(OSError):  # as where the disk is full
            for mark in _marks:
                mark.touch()
        yield
    finally:
        with suppress(ValueError):  # a second signal may come before it is in the list
            _underway.remove(ended)
        ended.set()
        with suppress(OSError):
            for mark in _marks:
                mark.unlink(missing_ok=True)


def show_by(mark: Path) -> None:
    """Let other processes see by a file when this one is finishing something."""
    _marks.append(mark)


class Brief:
    """Let a KeyboardInterrupt show the user's own lines alone: what it broke off is of no interest.

    An exception without a traceback, which leaves a `with`, gets none of the frame around it.
    """

    def __enter__(self) -> None:
        """Do nothing yet."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Forget the traceback."""
        if isinstance(error, KeyboardInterrupt):
            error.with_traceback(None)


@contextmanager
def askable() -> Iterator[Callable[[], None]]:
    """Give a function that asks as a signal does, for a search that is led from elsewhere."""
    listener = _Listener(escalates=False)
    _listeners.append(listener)
    try:
        yield lambda: listener.handle(signal.SIGINT, None)
    except KeyboardInterrupt:
        if listener.received is None:
            raise
    finally:
        _listeners.remove(listener)


def _restore(before: Mapping[int, Any]) -> None:
    for number, handler in before.items():
        # None stands for a handler that Python did not install and cannot put back.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _tell(line: str) -> None:
    if line:
        print(line, file=sys.stderr, flush=True)  # whatever verbose says: it is not progress
