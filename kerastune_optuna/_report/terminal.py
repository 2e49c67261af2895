"""A picture at the bottom of the terminal, drawn anew in place, below all that is printed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.console import (
    Console,
    ConsoleDimensions,
    ConsoleOptions,
    ConsoleRenderable,
    RenderableType,
    RenderResult,
)
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text

_in_use = threading.Lock()  # two searches in threads of one process: one of them draws
_MARGIN = 3  # columns: the terminal shows Ctrl-C as ^C behind the last row, which must not wrap
# A shell script that outlives this process if it is killed. It waits for the end of a pipe, which
# it has as its standard error and which ends with this process. Then it shows the cursor again, and
# prints what was captured and not yet shown.
_LAST_WILL = r"cat <&2 >/dev/null; printf '\033[?25h\n'; cat"


def can_draw() -> bool:
    """Whether standard output is a terminal, and nobody draws there."""
    # Windows does not open a temporary file a second time, and os.get_terminal_size() knows only
    # the three standard files there.
    if os.name != "posix" or _in_use.locked():
        return False
    with suppress(OSError, ValueError, AttributeError):  # it may have no descriptor, as in IDLE
        return os.isatty(sys.stdout.fileno())
    return False


@contextmanager
def at_the_bottom() -> Iterator[Callable[[RenderableType], None]]:
    """Give a function that draws at the bottom of the terminal; the last picture stays.

    What is printed meanwhile, by Python, by TensorFlow's C++ or by a child process, goes above it.
    """
    with _in_use, _captured() as (screen, printed):
        console = Console(
            file=screen,
            force_terminal=True,
            force_interactive=True,
            force_jupyter=False,
            highlight=False,
        )
        live = _Bottom(console)

        def draw(picture: RenderableType) -> None:
            size = os.get_terminal_size(screen.fileno())
            # A terminal that was given no size says 0, and nothing would be drawn or printed.
            console.size = ConsoleDimensions(size.columns or 80, size.lines or 24)
            if text := printed.lines():
                console.print(Text.from_ansi(text), soft_wrap=True)
            live.draw(picture)

        try:
            live.start()
            yield draw
        finally:
            try:
                printed.release()
                if text := printed.rest():
                    console.print(Text.from_ansi(text), soft_wrap=True)
            finally:
                live.stop()  # which shows the cursor again


class _Rows:
    """Draw a picture so that no row wraps, and remember how long its rows are."""

    def __init__(self) -> None:
        self.picture: RenderableType = ""
        self.lengths: Sequence[int] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what has room."""
        narrower = options.update(width=max(1, options.max_width - _MARGIN))
        rows = console.render_lines(self.picture, narrower, pad=False)
        rows = rows[: max(1, options.size.height - 1)]
        self.lengths = [Segment.get_line_length(row) for row in rows]
        for row in rows:
            yield from row
            yield Segment.line()


class _Bottom(Live):
    """Draw in place as rich does, in a terminal that became narrower too."""

    def __init__(self, console: Console) -> None:
        self._rows = _Rows()
        super().__init__(
            self._rows,
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="visible",
        )

    def draw(self, picture: RenderableType) -> None:
        """Draw another picture in place of the last one."""
        self._rows.picture = picture
        self.refresh()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Go up, before rich does, by the rows that wrapped as the terminal became narrower.

        Where a terminal cuts rows off instead, as xterm does, this erases lines above the picture.
        """
        width = self.console.width
        wrapped = sum(max(1, math.ceil(length / width)) - 1 for length in self._rows.lengths)
        step = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
        return [Control(*step * wrapped), *super().process_renderables(renderables)]


class _Printed:
    """Read what goes into a file instead of the terminal."""

    def __init__(self, reader: int, release: Callable[[], None]) -> None:
        self._reader = reader
        self._held = b""
        self.release = release

    def lines(self) -> str:
        """Return the whole lines that came since the last call; or a part that stayed one."""
        before = self._held
        self._read()
        if self._held == before:  # a question, say, that waits for its answer
            whole, self._held = before, b""
        else:
            whole, _, self._held = self._held.rpartition(b"\n")
        return _decoded(whole)

    def rest(self) -> str:
        """Return all that came since the last call, even if the last line is not whole."""
        self._read()
        return _decoded(self._held).rstrip("\n")

    def _read(self) -> None:
        while chunk := os.read(self._reader, 1 << 16):
            self._held += chunk


def _decoded(printed: bytes) -> str:
    """Return what was printed, with plain line ends: rich drops text before a carriage return."""
    return printed.decode(errors="replace").replace("\r\n", "\n")


class _Redirected:
    """Send what this process prints on the terminal to a file, until it is released."""

    def __init__(self, writer: int) -> None:
        self._kept = {fd: os.dup(fd) for fd in (1, 2) if os.isatty(fd)}
        _flush()
        for fd in self._kept:
            os.dup2(writer, fd)

    def release(self) -> None:
        """Let it print on the terminal again."""
        _flush()
        for fd, terminal in list(self._kept.items()):
            os.dup2(terminal, fd)
            del self._kept[fd]  # only now: after a Ctrl-C in between, release() can run again
            os.close(terminal)


@contextmanager
def _captured() -> Iterator[tuple[TextIO, _Printed]]:
    """Give the terminal, and capture what this process and its children print on it meanwhile.

    Their output goes into a file: a pipe may be full, and a child may write after the search.
    """
    with (
        _ends_of_a_file() as (reader, writer),
        open(
            os.dup(sys.stdout.fileno()),
            "w",
            buffering=1 << 16,  # a picture in one write, or it flickers
            encoding=sys.stdout.encoding,
            errors="replace",  # the blocks of curves, where the encoding has none
        ) as screen,
        _last_will(reader, screen.fileno()),
    ):
        redirected = _Redirected(writer)
        try:
            yield screen, _Printed(reader, redirected.release)
        finally:
            redirected.release()


@contextmanager
def _ends_of_a_file() -> Iterator[tuple[int, int]]:
    """Give the descriptors that read a file from its beginning, and write at its end.

    The file has no name any more, so that nothing is left of it where this process is killed.
    """
    with tempfile.NamedTemporaryFile() as file:
        reader = os.open(file.name, os.O_RDONLY)
        writer = os.open(file.name, os.O_WRONLY | os.O_APPEND)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or of a terminal that is gone
            stream.flush()


@contextmanager
def _last_will(reader: int, screen: int) -> Iterator[None]:
    """Have a shell print what was captured and not yet shown, should this process be killed."""
    ends, lifeline = os.pipe()
    try:
        # The shell inherits our descriptor, and with it the position in the file: it prints just
        # what we have not read. It has a session of its own, since the terminal sends Ctrl-C to
        # every process of ours.
        heir = subprocess.Popen(
            ["/bin/sh", "-c", _LAST_WILL],
            stdin=reader,
            stdout=screen,
            stderr=ends,
            start_new_session=True,
        )
    except OSError:
        heir = None  # without a shell the search goes on as well
    os.close(ends)
    try:
        yield
    finally:
        if heir is not None:
            heir.kill()
            heir.wait()
        os.close(lifeline)
