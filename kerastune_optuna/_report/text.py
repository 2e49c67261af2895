"""Numbers, times and parameters in a form for people to read."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kerastune_optuna._signals import readable

_HTML = "<pre style=\"line-height:1.2;font-family:Menlo,'DejaVu Sans Mono',monospace\">{code}</pre>"
# The terminal, or the program behind a pipe, may be gone; ValueError says that a file is closed.
_GONE = (OSError, ValueError)
_LONGEST = 60  # characters of one parameter: a choice may be a long text


def printable(text: str) -> str:
    """Return a text with `?` for what standard output cannot show: a pipe may only take ASCII."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def say(text: str, end: str = "\n") -> None:
    """Print to standard output, whatever its encoding is, and whether or not anybody reads it."""
    with suppress(*_GONE):
        print(printable(text), end=end, flush=True)


class Outlet:
    """Stand in for standard output, and ignore that its terminal may have been closed.

    Args:
        file: What is written to; None, as under pythonw, if there is nothing.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._file = io.StringIO() if file is None else file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write a text if that is possible."""
        with suppress(*_GONE):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, if that is possible."""
        with suppress(*_GONE):
            self._file.flush()


@dataclass(frozen=True)
class Shown:
    """Show a picture of rich without the control characters that texts of a study may have."""

    picture: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the picture; rich's own codes are in the style and the control of a segment."""
        for segment in console.render(self.picture, options):
            text = segment.text if segment.control else readable(segment.text)
            yield Segment(text, segment.style, segment.control)


def console_on(file: TextIO | None, **options: Any) -> Console:
    """Return a console of rich that takes texts as they are, whatever brackets they contain."""
    outlet: Any = Outlet(file)  # rich needs no more of a file than it has
    # In a notebook, rich would draw at once, but we want the text. Without markup, since what users
    # print below the live display passes through it, too, perhaps flushed without a line end.
    return Console(
        file=outlet, force_jupyter=False, markup=False, emoji=False, highlight=False, **options
    )


def drawn(*parts: RenderableType, **options: Any) -> str:
    """Return parts as a text that is ready to print, each of them below the one before.

    Args:
        *parts: What rich draws. The lines of a Text are not wrapped.
        **options: More options for rich's Console.
    """
    console = console_on(sys.stdout, **options)
    with console.capture() as captured:
        for part in parts:
            console.print(Shown(part), soft_wrap=isinstance(part, Text))
    return captured.get()


def table_of_trials(*headings: str) -> Table:
    """Return an empty table, whose last column is that of the parameters."""
    # Without lines between columns, so that parameters have room in 80 characters.
    table = Table(box=box.SIMPLE_HEAVY, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    return table


def for_notebook(picture: RenderableType) -> dict[str, str]:
    """Return a picture of rich as HTML, in colors for light and dark pages, and as text."""
    console = console_on(None, record=True, width=100, height=60)
    console.print(Shown(picture))
    html = console.export_html(inline_styles=True, code_format=_HTML, clear=False)
    return {"text/html": html, "text/plain": console.export_text().rstrip()}


def number(value: float | None) -> str:
    """Return a number with at most six digits; "" for None."""
    return "" if value is None else f"{value:.6g}"


def short(value: object) -> str:
    """Return a parameter's value or name in few characters."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def params(chosen: Mapping[str, Any]) -> list[str]:
    """Return a piece like `units=16` for each parameter."""
    return [f"{short(name)}={short(value)}" for name, value in chosen.items()]


def params_line(chosen: Mapping[str, Any]) -> str:
    """Return the parameters in one line."""
    return ", ".join(params(chosen)).replace("\n", " ")


def duration(seconds: float) -> str:
    """Return a time in its two largest units, like `1 h 05 min`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
