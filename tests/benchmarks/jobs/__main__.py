"""First to a good model, on real jobs: `python -m tests.benchmarks.jobs [--job NAME ...]`.

Each side searches each job with all defaults, with 20 trials of 20 epochs (iris: 30) or as many as
`--trials` and `--epochs` say, and with as many seeds as `--seeds` says, which draw the rows, too.
There are two tables a job and a picture of the second, the median of the best value after so many
seconds. What is in the file `--runs` is not run again; what is not is added.

With `--seconds`, each side has as many seconds for a job and a seed as plain Optuna needs for its
trials, whose run is that of its side; with `--seconds 120`, so many. A last table and a picture say
which place each side came to on the test rows, in the mean over jobs and seeds.
"""

import json
import math
import statistics
import sys
from itertools import product
from pathlib import Path

from tests.benchmarks import _sides, _tools
from tests.benchmarks.jobs import JOBS, missing

RUNS = Path(__file__).with_name("seconds.jsonl")  # of equal time, as the results have them
OURS = {"ours2": ("#d9480f", 7), "ours1": ("#e8862e", 5)}  # color and width of a line
GREY = "#aab0b6", 3  # of the others
NAMES = {"ours2": "kerastune_optuna<br>2 workers", "ours1": "kerastune_optuna<br>1 worker"}
NAMES |= {"optuna": "Optuna", "ray": "Ray Tune<br>2 at a time"}
NAMES |= {"bayesian": "KerasTuner<br>Bayesian", "hyperband": "KerasTuner<br>Hyperband"}
SIZE = 720, 640  # small, and with large letters: most of it is readable on a phone
ABOVE, BELOW, NAME = 115, 50, 54  # pixels above and below the lines, and of a name of two lines
FONT = {"size": 20, "color": "#202124", "family": "Arial, Helvetica, sans-serif"}
AS_OPTUNA = math.inf  # seconds: as many as plain Optuna needs
TICKS = [10, 20, 30, 60, 120, 180, 300, 600, 1200, 1800, 3600, 7200]  # seconds


def collected(keys, path):
    """Run what is not in the file, and return all runs that were asked for."""
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


def by_clock(job, options):
    """Return the runs of a job in which each side has the same seconds."""
    runs = []
    for seed in range(options.seeds):
        seconds, only = options.seconds, options.only
        if seconds == AS_OPTUNA:
            what = job, options.trials, options.epochs, None
            plain = collected([(what, seed, "optuna")], options.runs)
            seconds = math.ceil(plain[0]["searched"]) if plain else None
            runs += plain if "optuna" in only else []
            only = [side for side in only if side != "optuna"]
        if seconds:
            what = job, options.trials, options.epochs, seconds
            runs += collected([(what, seed, side) for side in only], options.runs)
    return runs


def places(runs):
    """Return the places of each side on the test rows of each search, 1 for the best; ties share.

    Only searches count that all sides finished.
    """
    searches = {}
    for run in runs:
        searches.setdefault((run["what"][0], run["seed"]), {})[run["side"]] = run
    most = max(map(len, searches.values()))
    found = {side: [] for side in NAMES if any(side in those for those in searches.values())}
    for those in searches.values():
        sign = 1 if next(iter(those.values()))["direction"] == "maximize" else -1
        for side, run in those.items() if len(those) == most else ():
            gains = [sign * (other["test"] - run["test"]) for other in those.values()]
            found[side].append(1 + sum(gain > 0 for gain in gains) + gains.count(0) / 2 - 0.5)
    return found


def bars(title, below, found):
    """Return the picture of mean places: our sides in color, the others grey, the best on top."""
    import plotly.graph_objects as go

    means = {side: statistics.fmean(own) for side, own in found.items()}
    sides = sorted(means, key=means.get, reverse=True)
    colors = [OURS.get(side, GREY)[0] for side in sides]
    texts = [f"<b>{means[side]:.1f}</b>" for side in sides]
    errors = [
        statistics.stdev(own) / len(own) ** 0.5 if len(own) > 1 else 0 for own in found.values()
    ]
    errors = dict(zip(found, errors, strict=True))
    drawn = go.Figure()
    drawn.add_bar(
        x=[means[side] for side in sides],
        y=[NAMES[side] for side in sides],
        orientation="h",
        marker={"color": colors},
        error_x={"array": [errors[side] for side in sides], "color": "#5f6368"},
        text=texts,
        textposition="inside",
        insidetextanchor="start",
    )
    return drawn.update_layout(
        template="plotly_white",
        font=FONT,
        title={"text": f"<b>{title}</b><br><sub>{below}</sub>", "x": 0.03, "y": 0.94},
        margin={"l": 220, "r": 40, "t": ABOVE, "b": BELOW},
        xaxis={"range": [0, len(found)], "zeroline": False, "gridcolor": "#e8eaed"},
    )


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
    cells += [f"{median(run[key] for run in own):.0f}" for key in ("trials", "epochs", "whole")]
    cells += [f"{memory / 1e6:.0f}"]
    return [_tools.SIDES[side][0], *cells, f"{disk / 1e6:.1f}"]


def table(job, sides, runs):
    """Print what the sides came to, and the medians on their way."""
    objective = runs[0]["objective"]
    seeds = len({run["seed"] for run in runs})
    header = [f"{job}, {runs[0]['size']}, seeds: {seeds}", "search, s (median)"]
    header += ["until the others' median, s", objective, f"{objective[4:]} on test rows"]
    header += ["trials", "epochs trained", "until the model is there, s", "memory, MB", "disk, MB"]
    measured = "; ".join(sorted({run["measured"] for run in runs}))
    _sides.table(measured, header, [row(side, own, runs) for side, own in sides.items()])
    seconds, lines = medians(sides, runs)
    header = ["median of the best value after", *(f"{second} s" for second in seconds)]
    cells = ([_tools.SIDES[side][0], *map("{:.3f}".format, lines[side])] for side in lines)
    _sides.table(measured, header, cells)


def medians(sides, runs):
    """Return seconds, and the median of the best values of each side after each of them.

    They begin when each run has a value.
    """
    first = max(run["progress"][0][0] for run in runs)
    last = max(run["searched"] for run in runs)
    seconds = [tick for tick in TICKS if first <= tick < 2 * last]

    def best(run, second):
        return [value for when, value in run["progress"] if when <= second][-1]

    return seconds, {
        side: [statistics.median(best(run, second) for run in own) for second in seconds]
        for side, own in sides.items()
    }


def figure(title, below, seconds, lines, is_up=True):
    """Return the picture of medians: our sides in color and on top, the others grey.

    Args:
        title: What the values are.
        below: How they were measured.
        seconds: When they were reached.
        lines: The values of each side at each of the seconds.
        is_up: Whether more is better.
    """
    import plotly.graph_objects as go

    drawn = go.Figure()
    ends = [f"{second} s" if second < 60 else f"{second // 60} min" for second in seconds]
    for side in sorted(lines, key=[*reversed(NAMES)].index):
        color, width = OURS.get(side, GREY)
        drawn.add_scatter(x=seconds, y=lines[side], line={"color": color, "width": width})
    goal = (max if is_up else min)(values[-1] for values in lines.values())
    there = {side: values.index(goal) for side, values in lines.items() if goal in values}
    first, *others = sorted(there, key=there.get)
    point = seconds[there[first]], goal
    _label(drawn, first, f"{goal:.3f} after {ends[there[first]]}", point, yshift=18, xanchor="left")
    for second in others[:1]:
        point, text = (seconds[there[second]], goal), f"{NAMES[second]}<br>has it after"
        arrow = {"showarrow": True, "ax": 0, "ay": 150 if is_up else -150, "arrowwidth": 2}
        _label(drawn, second, f"{text} {ends[there[second]]}", point, align="center", **arrow)
    axis = {"gridcolor": "#e8eaed", "zeroline": False}
    width = [math.log10(seconds[0]), math.log10(seconds[-1])]
    values = [value for side in lines.values() for value in side]
    room = 0.06 * (max(values) - min(values))
    starts = {side: line[0] for side, line in lines.items()}
    for side, down in _apart(starts, min(values) - room, max(values) + room).items():
        to = {"showarrow": True, "arrowhead": 0, "ax": -22, "ay": down, "xanchor": "right"}
        _label(drawn, side, NAMES[side], (seconds[0], starts[side]), **to)
    return drawn.update_layout(
        template="plotly_white",
        font=FONT,
        title={"text": f"<b>{title}</b><br><sub>{below}</sub>", "x": 0.03, "y": 0.94},
        showlegend=False,
        margin={"l": 220, "r": 65, "t": ABOVE, "b": BELOW},
        xaxis={"type": "log", "tickvals": seconds, "ticktext": ends, "tickangle": 0}
        | {"range": width, **axis},
        yaxis={"side": "right", "nticks": 6}
        | {"range": [min(values) - room, max(values) + room], **axis},
    )


def _apart(starts, low, high):
    """Return by how many pixels each name moves down from where its line starts."""
    height = SIZE[1] - ABOVE - BELOW
    wanted = {side: (high - start) / (high - low) * height for side, start in starts.items()}
    sides, places = sorted(wanted, key=wanted.get), {}
    for number, side in enumerate(sides):
        least = places[sides[number - 1]] + NAME if number else NAME / 2
        places[side] = max(wanted[side], least)
    for number, side in reversed(list(enumerate(sides))):
        most = places[sides[number + 1]] - NAME if side != sides[-1] else height - NAME / 2
        places[side] = min(places[side], most)
    return {side: places[side] - wanted[side] for side in sides}


def _label(drawn, side, text, point, **options):
    """Write a side's name or what it has at a point, in the side's color."""
    text, color = (f"<b>{text}</b>", OURS[side][0]) if side in OURS else (text, "#5f6368")
    place = {"x": math.log10(point[0]), "y": point[1], "font": {"color": color}}
    given = {"align": "right", "arrowcolor": color, "showarrow": False, **options}
    drawn.add_annotation(text=text, **place, **given)


def picture(path, drawn):
    """Write a figure as a PNG, which a Chromium makes."""
    from tests.support.browser import photograph

    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.update_layout(width=SIZE[0], height=SIZE[1])
    photograph(path, drawn.to_html(config={"displayModeBar": False}), ".plotly-graph-div")


def report(job, sides, runs, options):
    """Print the tables of a job, and draw its picture."""
    table(job, sides, runs)
    seconds, lines = medians(sides, runs)
    is_up = runs[0]["direction"] == "maximize"
    title, below = f"{job}: best {runs[0]['objective']}", f"median of {options.seeds} seeds"
    picture(options.pictures / f"{job}.png", figure(title, below, seconds, lines, is_up))


def compare(runs, folder):
    """Print and draw which place each side came to on the test rows."""
    found = places(runs)
    measured = "; ".join(sorted({run["measured"] for run in runs}))
    header = ["in equal time", "mean place on test rows", "first", "searches"]
    rows = (
        [
            _tools.SIDES[side][0],
            _sides.with_error(own, 2),
            sum(place < 2 for place in own),
            len(own),
        ]
        for side, own in found.items()
    )
    _sides.table(measured, header, rows)
    searches = max(map(len, found.values()))
    below = f"mean place in {searches} searches, on rows that none saw (1 = best)"
    picture(folder / "places.png", bars("Whose model is best in equal time?", below, found))


def main():
    """Run what was asked for; exit with a line where the data of a job are missing."""
    parser = _sides.command_line(__doc__, _tools.SIDES)
    parser.add_argument("--job", nargs="+", choices=JOBS, default=list(JOBS))
    for name, default in {"seeds": 5, "trials": None, "epochs": None}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    told = "what each side has for a job; without a number: as many as plain Optuna needs"
    parser.add_argument("--seconds", type=int, nargs="?", const=AS_OPTUNA, help=told)
    parser.add_argument("--runs", type=Path, help="file with a line of JSON for each run")
    parser.add_argument("--pictures", type=Path, default=_sides.ROOT / "build" / "jobs")
    options = parser.parse_args()
    if lacks := [line for line in map(missing, options.job) if line]:
        sys.exit("\n".join(lacks))
    everything = []
    for job in options.job:
        if options.seconds:
            runs = by_clock(job, options)
        else:
            what = job, options.trials, options.epochs, None
            keys = list(product([what], range(options.seeds), options.only))
            runs = collected(keys, options.runs)
        if runs:
            sides = {side: [run for run in runs if run["side"] == side] for side in options.only}
            report(job, {side: own for side, own in sides.items() if own}, runs, options)
            everything += runs
    if options.seconds and everything:
        compare(everything, options.pictures)


if __name__ == "__main__":
    main()
