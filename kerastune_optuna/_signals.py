"""Ctrl-C, SIGTERM and SIGHUP: the first asks a search to end soon; the second ends it at once."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

LOG = logging.getLogger("kerastune_optuna")  # our lines, for whoever wants them in a file
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and line ends
_GRACE = 5  # seconds after which we send the signal again: a batch may last for hours


def readable(text: str) -> str:
    """Return a text without control characters, by which a study could command the terminal."""
    return _CONTROLS.sub("", text)


def print_line(line: str) -> None:
    """Print a line on standard error, whatever `verbose` says: it is not progress; log it, too."""
    line = readable(line)
    LOG.info(line)
    with suppress(OSError):  # the terminal may have been closed
        print(line, file=sys.stderr, flush=True)


def send(number: int) -> None:
    """Send this process a signal. On Windows, a blocked main thread handles it only later."""
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


@dataclass(eq=False, kw_only=True)
class _Listener:
    """Remember the first signal; interrupt at the second, or if the first had no effect.

    Args:
        escalates: Whether to interrupt at all.
        is_meant: Returns, after a signal, whether it was meant to end the search, rather than only
            this process.
    """

    escalates: bool
    is_meant: Callable[[], bool] = lambda: True
    received: int | None = field(init=False, default=None)
    # The handlers that the signals had before.
    _before: Mapping[int, Any] = field(init=False, default_factory=dict)
    # Python may run handle() in the middle of a put() in the same thread, as where heard() ends. A
    # SimpleQueue allows that; Event.set() would wait forever for a lock that its thread holds.
    _wakes: SimpleQueue[None] = field(init=False, default_factory=SimpleQueue)
    _over: threading.Event = field(init=False, default_factory=threading.Event)

    def handle(self, number: int, _frame: object) -> None:
        """Handle a signal; Python calls this in the main thread."""
        if self.received is None:
            self.received = number
            self._wakes.put(None)
        elif self.escalates:
            raise KeyboardInterrupt

    def watch(self) -> None:
        """Send the signal a second time if the first one did not end the search."""
        self._wakes.get()
        if not self.escalates:
            return
        while not self._over.wait(_GRACE):
            if not (underway := list(_underway)):
                send(self.received or signal.SIGINT)
                return
            print_line(
                "Waiting for the running trials to be saved; a second Ctrl-C ends the search."
            )
            for block in underway:
                block.wait()

    @contextmanager
    def heard(self, signals: Sequence[int] | None) -> Iterator[None]:
        """Handle these signals within the block, or else all that a user may send to end a search.

        Afterwards stop interrupting, let the watching thread end, and restore the former handlers.
        """
        if signals is None:
            signals = (signal.SIGINT, signal.SIGTERM)
            # Unless nohup ignores it.
            if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                signals = (*signals, signal.SIGHUP)
        self._before = {number: signal.signal(number, self.handle) for number in signals}
        _listeners.append(self)
        threading.Thread(target=self.watch, daemon=True).start()
        try:
            yield
        finally:
            try:
                self.escalates = False
                self._over.set()
                self._wakes.put(None)
            finally:  # a second signal may raise above
                self.restore()
                with suppress(ValueError):  # in a forked child, the list is empty
                    _listeners.remove(self)

    def restore(self, numbers: Container[int] = range(signal.NSIG)) -> None:
        """Restore the handlers that the signals had before."""
        for number, handler in self._before.items():
            if number in numbers:
                # None stands for a handler that Python did not install and cannot restore.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


_listeners: list[_Listener] = []  # several, since a builder may run another search
_underway: list[threading.Event] = []  # one for each `finishing` block that runs, set at its end
_watchers: list[Callable[[bool], None]] = []  # told when `finishing` blocks begin and end
_held_back = threading.local()  # which signals a thread had blocked before it forked


def requested() -> bool:
    """Whether a signal asked this process to end its search."""
    return any(listener.received is not None for listener in _listeners)


def is_of_this_process_alone() -> bool:
    """Whether a signal was meant only for this process, not for its search.

    A daemon that frees memory, such as earlyoom, sends SIGTERM to the largest process. The trial of
    that process then counts as one whose worker died.
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
    """Let the first signal ask the search to end, and raise once the search has ended.

    Args:
        how_to_go_on: A line that is printed before raising; nothing is printed if it is empty.
        signals: The signals that ask the search to end; None for all that a user may send.
        escalates: Whether a second signal, or a first one without effect, interrupts at once.
        is_meant: Returns, after a signal, whether it was meant to end the search, rather than only
            this process.

    Raises:
        KeyboardInterrupt: Ctrl-C ended the search.
        SystemExit: Another signal ended the search; the exit code is that of shells for the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # in Python, only the main thread can handle signals
        return
    listener = _Listener(escalates=escalates, is_meant=is_meant)
    try:
        with listener.heard(signals):
            yield
    except BaseException as error:
        if listener.received is None and not isinstance(error, KeyboardInterrupt):
            raise
    else:
        if listener.received is None:  # not even while heard() restored the handlers
            return
    if how_to_go_on:
        print_line(how_to_go_on)
    # From None: the frames that a signal interrupted are of no interest.
    if listener.received is not None and listener.received != signal.SIGINT:
        raise SystemExit(128 + listener.received) from None
    raise KeyboardInterrupt from None


@contextmanager
def finishing() -> Iterator[None]:
    """Let a block, such as one that saves a backup, finish after a first signal."""
    ended = threading.Event()
    try:
        _underway.append(ended)
        for tell_whether in _watchers:
            tell_whether(True)
        yield
    finally:
        with suppress(ValueError):  # a second signal may come before `ended` is in the list
            _underway.remove(ended)
        ended.set()
        for tell_whether in _watchers:
            tell_whether(bool(_underway))


def show_by(tell_whether: Callable[[bool], None]) -> None:
    """Call this when a `finishing` block begins or ends, with whether one runs."""
    _watchers.append(tell_whether)


@contextmanager
def askable() -> Iterator[Callable[[], None]]:
    """Yield a function that asks a search led by another process to end, as a signal does."""
    listener = _Listener(escalates=False)
    _listeners.append(listener)
    try:
        yield lambda: listener.handle(signal.SIGINT, None)
    except KeyboardInterrupt:
        if listener.received is None:
            raise
    finally:
        with suppress(ValueError):  # in a forked child, the list is empty
            _listeners.remove(listener)


def _leave_to_parent() -> None:
    """Restore in a forked child the handler that SIGTERM had before the search.

    Only the parent ends the search. The handler of Ctrl-C stays: the terminal sends Ctrl-C to both
    processes, and the first one must not end the child, which may load data for the epoch that the
    parent still trains.
    """
    for listener in reversed(_listeners):
        listener.restore((signal.SIGTERM,))
    for kept in (_listeners, _underway, _watchers):
        kept.clear()


if sys.platform != "win32":  # Windows forks no processes

    def _hold_back() -> None:
        """Block SIGTERM before a fork, until the child has restored its handler."""
        _held_back.mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))

    def _let_through() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _held_back.mask)

    os.register_at_fork(after_in_child=_leave_to_parent)
    os.register_at_fork(
        before=_hold_back, after_in_parent=_let_through, after_in_child=_let_through
    )
