"""The figure of when each worker ran which trial."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import count

import plotly.graph_objects as go

from kerastune_optuna._report import style
from kerastune_optuna._report.facts import Facts, Row

_UNSIGNED = "unknown"  # the worker of a trial that was added by hand
_TALLEST = 900  # pixels
_BORDER = {"width": 1, "color": "rgba(128, 128, 128, 0.6)"}


def timeline(facts: Facts) -> go.Figure:
    """Return a bar for each trial, on the line of its worker."""
    begun = sorted((row for row in facts.rows if row.trial.datetime_start), key=_began)
    last = max((row.trial.datetime_complete or _began(row) for row in begun), default=datetime.max)
    lanes = _lanes(begun)
    return style.figure(
        [_bars(rows, state, lanes, last) for state, rows in style.by_state(begun).items()],
        barmode="overlay",
        height=min(_TALLEST, 110 + 34 * len(set(lanes.values()))),
        xaxis={"type": "date", "tickformat": ""},
        yaxis={
            "type": "category",
            "categoryarray": list(lanes.values()),
            "autorange": "reversed",
            "showgrid": False,
        },
    )


def _lanes(rows: Sequence[Row]) -> dict[str, str]:
    """Return a short name for each worker, in the order in which they began."""
    workers, numbers = dict.fromkeys(map(_worker, rows)), count(1)
    return {name: name if name == _UNSIGNED else f"worker {next(numbers)}" for name in workers}


def _began(row: Row) -> datetime:
    return row.trial.datetime_start or datetime.max


def _worker(row: Row) -> str:
    """Return who ran a trial: machine, process id, and when the process began."""
    return row.worker or _UNSIGNED


def _bars(rows: Sequence[Row], state: str, lanes: dict[str, str], last: datetime) -> go.Bar:
    # A trial that still runs is drawn until the study's last known moment.
    times = [(row.trial.datetime_complete or last) - _began(row) for row in rows]
    return go.Bar(
        base=[row.trial.datetime_start for row in rows],
        x=[time // timedelta(milliseconds=1) for time in times],
        y=[lanes[_worker(row)] for row in rows],
        text=[escape(_worker(row)) for row in rows],
        textposition="none",
        orientation="h",
        name=state.lower(),
        marker={"color": style.COLORS[state], "line": _BORDER},
        width=0.7,
        **style.by_trial(rows, "<br>%{text}"),
    )
