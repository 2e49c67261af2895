"""Make the pictures of examples/pictures from what really happened.

Run it from the repository: `python -m tests.pictures [name ...]`. It needs Chromium, Debian's
`dataset-fashion-mnist` and the extras `benchmarks` and `test`. It searches twice in build/pictures,
for some minutes; what is there already is only drawn again. Each function in PICTURES takes the
folder of the pictures; add one for what is new to show.
"""

import json
import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path

import optuna

from kerastune_optuna import OptunaTuner, _report, open_study
from tests.benchmarks._tools import SIDES
from tests.benchmarks.jobs.__main__ import RUNS, compare, figure, picture
from tests.pictures import film, recording
from tests.pictures.recording import ROOT
from tests.support.browser import page, photograph

FOLDER = ROOT / "examples" / "pictures"
MADE = ROOT / "build" / "pictures"
REPORT = 960, 912


@cache
def recorded():
    """Return the recording of the search that is killed, which leaves its study in the folder."""
    file = MADE / "killed.cast"
    if not file.exists():
        shutil.rmtree(MADE, ignore_errors=True)
        MADE.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("search.py"), MADE)
        file.write_text(recording.record(MADE))
    return file.read_text()


def study():
    recorded()
    return open_study(MADE / "tuning", "clothes").study


def killed(folder):
    (folder / "killed.svg").write_text(film.film(recorded()))


def live(folder):
    """Show the display as it was in the middle of a trial in the middle of the search."""
    shown = ((recording.trial_in(text), rows) for _, rows, text in film.parts_of(recorded())[-1][1])
    rows = next(rows for (number, epoch, _), rows in shown if number >= 15 and epoch >= 9)
    start = next(at for at, row in enumerate(rows) if "Study &#x27;" in row)
    photograph(folder / "live.png", film.still(rows[start:]), "svg")


def summary(folder):
    photograph(folder / "summary.png", film.printed(_report.summary(study(), 5)), "svg")


def report(folder):
    written = _report.write_page(study(), MADE / "report.html")
    with page(*REPORT, "light", scale=1.5) as shown:
        shown.goto(written.as_uri())
        shown.evaluate("drawn")
        shown.screenshot(path=folder / "report-desktop-light.png")


def front(folder):
    """Show the front of examples/pareto.py, after three times as many trials."""
    import pareto  # of examples/
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    aims = {"objective": ["val_accuracy", "n_params"], "max_params": 10_000, "n_trials": 30}
    tuner = OptunaTuner(pareto.build_model, directory=MADE / "pareto", **aims)
    data = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(*data, test_size=0.2, random_state=0)
    tuner.search(x, y, validation_data=(x_val, y_val), epochs=5, batch_size=64)
    drawn = tuner.plot_front().update_layout(font={"size": 18}, width=720, height=480)
    drawn.update_xaxes(title_font_size=18).update_yaxes(title_font_size=18)
    photograph(folder / "front.png", drawn.to_html(), ".plotly-graph-div")


def fashion(folder):
    """Draw the table of medians in tests/benchmarks, since its runs were not kept."""
    pages = "".join(path.read_text() for path in (ROOT / "tests" / "benchmarks").glob("*.md"))
    table = re.search(r"\| (median of the best value after .*?)\n\n", pages, re.DOTALL)[1]
    (_, *head), _, *rows = (row.strip("| ").split(" | ") for row in table.split("\n"))
    lines = dict(zip(SIDES, ([float(cell) for cell in row[1:]] for row in rows), strict=True))
    seconds = [int(cell.removesuffix(" s")) for cell in head]
    title = "Fashion-MNIST: best validation accuracy"
    below = "20 trials with all defaults, median of five seeds"
    picture(folder / "fashion.png", figure(title, below, seconds, lines))


def places(folder):
    """Draw the places of the tools in equal time, from the runs that are kept."""
    compare(list(map(json.loads, RUNS.read_text().splitlines())), folder)


ALL = killed, live, summary, report, front, fashion, places
PICTURES = {one.__name__: one for one in ALL}


if __name__ == "__main__":
    sys.path.append(str(ROOT / "examples"))
    # What is printed is to have the colours and the width of a terminal, wherever this runs.
    os.environ |= {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for wanted in sys.argv[1:] or PICTURES:
        PICTURES[wanted](FOLDER)
