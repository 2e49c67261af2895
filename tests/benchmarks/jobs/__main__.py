"""First to a good model, on real jobs: `python -m tests.benchmarks.jobs [--job NAME ...]`.

Each side searches each job with all defaults, with 20 trials of 20 epochs (iris: 30) or as many as
`--trials` and `--epochs` say, and with as many seeds as `--seeds` says, which draw the rows, too.
There is a table a job, and a picture of the best value so far: the median of the seeds, and all
between the worst and the best. What is in the file `--runs` is not run again; what is not is added.
"""

import json
import math
import statistics
import sys
from itertools import product
from pathlib import Path

import numpy as np

from tests.benchmarks import _sides, _tools
from tests.benchmarks.jobs import JOBS, missing

COLORS = ["#ee7a22", "#b3261e", "#3d8bd9", "#1aa587", "#8a63d2", "#858585"]  # one a side
SIZE = 900, 520
TICKS = [step * ten for ten in (1, 10, 100, 1000) for step in (1, 2, 5)]  # seconds


def collected(keys, path):
    """Run what is not in the file, and return all runs of a job that were asked for."""
    lines = path.read_text().splitlines() if path and path.exists() else []
    runs = {(tuple(one["what"]), one["seed"], one["side"]): one for one in map(json.loads, lines)}
    for key in keys:
        if key not in runs and (run := _measured(*key)):
            runs[key] = run
            if path:
                with path.open("a") as file:
                    file.write(f"{json.dumps(run)}\n")
    return [runs[key] for key in keys if key in runs]


def _measured(what, seed, side):
    """Run a side once, and say how it went; return None where it failed."""
    try:
        run = _tools.measure(what, side, seed)
    except RuntimeError as error:
        print(f"{what[0]}, seed {seed}, {side}: {error}", flush=True)
        return None
    print(f"{what[0]}, seed {seed}, {side}: {run.seconds:.1f} s", flush=True)
    measured = _sides.measured_with(_tools.PACKAGES)
    return {"what": what, "seed": seed, "side": side, "measured": measured, **run.answers[0]}


def until(run, runs):
    """Return the seconds until a run has what the median of the other sides has at the end."""
    others = [
        other["progress"][-1][1]
        for other in runs
        if other["seed"] == run["seed"] and other["side"] != run["side"]
    ]
    if not others:
        return math.nan
    sign, goal = 1 if run["direction"] == "maximize" else -1, statistics.median(others)
    return next((at for at, value in run["progress"] if sign * (value - goal) >= 0), math.inf)


def row(side, own, runs):
    """Return a row of the table."""
    median = statistics.median
    seconds, memory, disk = (
        median(run[key] for run in own) for key in ("searched", "memory", "disk")
    )
    reached = median(until(run, runs) for run in own)
    cells = [f"{seconds:.0f}", "never" if reached == math.inf else f"{reached:.0f}"]
    cells += [_sides.with_error([run[key] for run in own], 4) for key in ("value", "test")]
    cells += [f"{median(run['epochs'] for run in own):.0f}", f"{memory / 1e6:.0f}"]
    return [_tools.SIDES[side][0], *cells, f"{disk / 1e6:.1f}"]


def table(job, sides, runs):
    """Print what the sides came to."""
    objective = runs[0]["objective"]
    seeds = len({run["seed"] for run in runs})
    header = [f"{job}, {runs[0]['size']}, seeds: {seeds}", "search, s (median)"]
    header += ["until the others' median, s", objective, f"{objective[4:]} on test rows"]
    header += ["epochs trained", "memory, MB", "disk, MB"]
    measured = "; ".join(sorted({run["measured"] for run in runs}))
    _sides.table(measured, header, [row(side, own, runs) for side, own in sides.items()])


def curve(own):
    """Return seconds, and the worst, median and best value of the seeds at each of them."""
    end = statistics.median(run["searched"] for run in own)
    times = {at for run in own for at, _ in run["progress"]}
    first = max(run["progress"][0][0] for run in own)  # before, some seed has no value
    times = [*sorted(at for at in times if first <= at < end), max(first, end)]
    each = []
    for run in own:
        ats, values = zip(*run["progress"], strict=True)
        each.append([values[np.searchsorted(ats, at, "right") - 1] for at in times])
    return times, np.quantile(each, [0, 0.5, 1], axis=0)


def figure(sides, runs):
    """Return the picture of the best values so far."""
    import plotly.graph_objects as go

    drawn = go.Figure()
    for (side, (label, *_)), color in zip(_tools.SIDES.items(), COLORS, strict=True):
        if side in sides:
            times, (low, median, high) = curve(sides[side])
            shared = {"x": times, "legendgroup": side, "mode": "lines"}
            edge = {"line": {"width": 0, "shape": "hv"}, "showlegend": False, **shared}
            drawn.add_scatter(y=low, **edge)
            drawn.add_scatter(y=high, fill="tonexty", fillcolor=f"{color}22", **edge)
            line = {"color": color, "width": 2.5, "shape": "hv"}
            drawn.add_scatter(y=median, name=label, line=line, **shared)
    values = [value for run in runs for _, value in run["progress"]]
    is_up = runs[0]["direction"] == "maximize"  # the first values would flatten all others
    low, high = np.nanquantile(values, [0.25, 1] if is_up else [0, 0.75])
    room = 0.05 * (high - low)
    return drawn.update_layout(
        template="plotly_white",
        font={"size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"l": 70, "r": 20, "t": 20, "b": 50},
        xaxis={"title": {"text": "seconds"}, "type": "log", "tickvals": TICKS},
        yaxis={
            "title": {"text": f"best {runs[0]['objective']}"},
            "range": [low - room, high + room],
        },
    )


def picture(path, sides, runs):
    """Write the picture as a PNG, which a Chromium makes."""
    from tests.support.browser import page

    path.parent.mkdir(parents=True, exist_ok=True)
    with page(*SIZE, "light") as shown:
        shown.set_content(figure(sides, runs).to_html(config={"displayModeBar": False}))
        shown.locator(".plotly-graph-div").screenshot(path=path)


def main():
    """Run what was asked for; exit with a line where the data of a job are missing."""
    parser = _sides.command_line(__doc__, _tools.SIDES)
    parser.add_argument("--job", nargs="+", choices=JOBS, default=list(JOBS))
    for name, default in {"seeds": 5, "trials": None, "epochs": None}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--runs", type=Path, help="file with a line of JSON for each run")
    parser.add_argument("--pictures", type=Path, default=_sides.ROOT / "build" / "jobs")
    options = parser.parse_args()
    if lacks := [line for line in map(missing, options.job) if line]:
        sys.exit("\n".join(lacks))
    for job in options.job:
        what = job, options.trials, options.epochs
        keys = list(product([what], range(options.seeds), options.only))
        if runs := collected(keys, options.runs):
            sides = {side: [run for run in runs if run["side"] == side] for side in options.only}
            sides = {side: own for side, own in sides.items() if own}
            table(job, sides, runs)
            picture(options.pictures / f"{job}.png", sides, runs)


if __name__ == "__main__":
    main()
