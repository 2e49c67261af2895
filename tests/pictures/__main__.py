"""Make the pictures of examples/pictures from a replayed study of 100 trials.

Run it from the repository: `python -m tests.pictures [name ...]`. Each function in PICTURES takes
the folder and writes its files there; add one for what is new to show.
"""

import io
import os
import sys
from functools import cache
from pathlib import Path

import optuna
from rich.console import Console
from rich.text import Text

from kerastune_optuna import _report
from tests.pictures.live import live_svg
from tests.support.browser import page
from tests.support.replays import Recorded, replay

FOLDER = Path(__file__).parents[2] / "examples" / "pictures"
SIZES = {"phone": (375, 1180), "desktop": (1440, 1010)}
COLUMNS = 80


@cache
def study():
    return replay(100, Recorded().train)


def report(folder):
    """Show the report on a phone and on a desktop, in light and dark."""
    written = _report.write_page(study(), folder / "report.html")
    for name, size in SIZES.items():
        for scheme in ("light", "dark"):
            with page(*size, scheme) as shown:
                shown.goto(written.as_uri())
                shown.evaluate("drawn")
                shown.screenshot(path=folder / f"report-{name}-{scheme}.png")
    written.unlink()


def summary(folder):
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(_report.summary(study(), 5)))
    photograph(console.export_svg(title="tuner.summary(5)"), folder / "summary.png")


def live(folder):
    photograph(live_svg(), folder / "live.png")


def photograph(svg, path):
    with page(1300, 700, "light") as shown:
        shown.set_content(svg)
        shown.locator("svg").first.screenshot(path=path)


PICTURES = {"live": live, "report": report, "summary": summary}


if __name__ == "__main__":
    # What is printed is to have the colours and the width of a terminal, wherever this runs.
    os.environ |= {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    FOLDER.mkdir(exist_ok=True)
    for wanted in sys.argv[1:] or PICTURES:
        PICTURES[wanted](FOLDER)
