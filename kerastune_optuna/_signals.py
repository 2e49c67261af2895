"""Ctrl-C, SIGTERM and SIGHUP: the first asks a search to end soon, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

_GRACE = 5  # seconds after which the first signal counts as the second: a batch may last for hours


def tell(line: str) -> None:
    """Print a line on standard error, whatever `verbose` says: it is not progress."""
    with suppress(OSError):  # of a terminal that was closed
        print(line, file=sys.stderr, flush=True)


def send(number: int) -> None:
    """Send this process a signal; its main thread takes it, on Windows only once it runs again."""
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


class _Listener:
    """Remember the first signal; interrupt at the second, or when the first had no effect.

    Args:
        escalates: Whether to interrupt at all.
        is_meant: Tells, after a signal, whether it was to end the search, not this process alone.
    """

    def __init__(self, *, escalates: bool, is_meant: Callable[[], bool] = lambda: True) -> None:
        self._escalates = escalates
        self.is_meant = is_meant
        self.received: int | None = None
        self._before: Mapping[int, Any] = {}  # what handled the signals before
        # Python may run handle() in the middle of a put() of the same thread, as in end(). A
        # SimpleQueue allows that; the set() of an Event would wait for its own lock for ever.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._over = threading.Event()

    def handle(self, number: int, _frame: object) -> None:
        """Take a signal; Python calls this in the main thread."""
        if self.received is None:
            self.received = number
            self._wakes.put(None)
        elif self._escalates:
            raise KeyboardInterrupt

    def watch(self) -> None:
        """Send the signal a second time where the first one did not end the search."""
        self._wakes.get()
        if not self._escalates:
            return
        while not self._over.wait(_GRACE):
            if not (underway := list(_underway)):
                send(self.received or signal.SIGINT)
                return
            tell("Waiting until what was trained is saved; a second Ctrl-C ends it at once.")
            for one in underway:
                one.wait()

    def install(self, signals: Sequence[int]) -> None:
        """Take these signals from now on."""
        self._before = {number: signal.signal(number, self.handle) for number in signals}

    def restore(self, numbers: Container[int] = range(signal.NSIG)) -> None:
        """Put back the handlers that the signals had before."""
        for number, handler in self._before.items():
            if number in numbers:
                # None stands for a handler that Python did not install and cannot put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def end(self) -> None:
        """Interrupt nothing any more, and let the watching thread go."""
        self._escalates = False
        self._over.set()
        self._wakes.put(None)


_listeners: list[_Listener] = []  # several, since a builder may run a search of its own
_underway: list[threading.Event] = []  # one for each `finishing` that runs, set at its end
_marks: list[Path] = []  # files that are there while a `finishing` runs, for other processes
_held_back = threading.local()  # which signals a thread had blocked before it forked


def requested() -> bool:
    """Whether a signal asked this process to end its search."""
    return any(listener.received is not None for listener in _listeners)


def is_of_this_process_alone() -> bool:
    """Whether a signal was meant for this process alone, not for its search.

    A daemon that frees memory, like earlyoom, sends SIGTERM to the largest process: its trial then
    counts as one whose worker died.
    """
    return not all(one.is_meant() for one in list(_listeners) if one.received is not None)


@contextmanager
def listening(
    how_to_go_on: str,
    signals: Sequence[int] | None = None,
    *,
    escalates: bool = True,
    is_meant: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    """Let the first signal ask the search to end, and raise once the search has ended by it.

    Args:
        how_to_go_on: The line that the user reads in the end; nothing is printed where it is empty.
        signals: The signals that ask the search to end; None for all that a user may send.
        escalates: Whether a second signal, or a first one without effect, interrupts at once.
        is_meant: Tells, after a signal, whether it was to end the search, not this process alone.

    Raises:
        KeyboardInterrupt: Ctrl-C ended the search.
        SystemExit: Another signal did; the exit code is the one that a shell gives for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread handle signals
        return
    listener = _Listener(escalates=escalates, is_meant=is_meant)
    try:
        with _installed(listener, _of_users() if signals is None else signals):
            yield
    except BaseException as error:
        if listener.received is None and not isinstance(error, KeyboardInterrupt):
            raise
    else:
        if listener.received is None:  # nor while _installed() put the handlers back
            return
    if how_to_go_on:
        tell(how_to_go_on)
    # From None: the frames that a signal broke off are of no interest.
    if listener.received is not None and listener.received != signal.SIGINT:
        raise SystemExit(128 + listener.received) from None
    raise KeyboardInterrupt from None


def _of_users() -> list[int]:
    """Return the signals that end a search: SIGHUP too, unless nohup had it ignored."""
    signals: list[int] = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


@contextmanager
def _installed(listener: _Listener, signals: Sequence[int]) -> Iterator[None]:
    """Let a listener take the signals within the block, and then put the former handlers back."""
    listener.install(signals)
    _listeners.append(listener)
    threading.Thread(target=listener.watch, daemon=True).start()
    try:
        yield
    finally:
        try:
            listener.end()
        finally:  # a second signal may raise inside of end()
            listener.restore()
            with suppress(ValueError):  # a forked child has emptied the list
                _listeners.remove(listener)


@contextmanager
def finishing() -> Iterator[None]:
    """Let something, like a backup, be finished after a first signal, however long it takes."""
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


@contextmanager
def askable() -> Iterator[Callable[[], None]]:
    """Give a function that, for a search led from elsewhere, asks it to end as a signal does."""
    listener = _Listener(escalates=False)
    _listeners.append(listener)
    try:
        yield lambda: listener.handle(signal.SIGINT, None)
    except KeyboardInterrupt:
        if listener.received is None:
            raise
    finally:
        with suppress(ValueError):  # as above
            _listeners.remove(listener)


def _leave_to_parent() -> None:
    """Give a forked child the handler of SIGTERM from before the search, which its parent ends.

    The handler of Ctrl-C stays: the terminal sends Ctrl-C to both, and the first one must not end
    the child, which may load data for the epoch that the parent still trains.
    """
    for listener in reversed(_listeners):
        listener.restore((signal.SIGTERM,))
    for kept in (_listeners, _underway, _marks):
        kept.clear()


if sys.platform != "win32":  # which forks no processes

    def _hold_back() -> None:
        """Block SIGTERM before a fork, until the child has the handler that it is to have."""
        _held_back.mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))

    def _let_through() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _held_back.mask)

    os.register_at_fork(after_in_child=_leave_to_parent)
    os.register_at_fork(
        before=_hold_back, after_in_parent=_let_through, after_in_child=_let_through
    )
