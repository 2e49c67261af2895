"""The figure of when each worker ran which trial."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

import plotly.graph_objects as go

from kerastune_optuna._report import style
from kerastune_optuna._report.facts import Facts, Row
from kerastune_optuna._storage import WORKER

_UNSIGNED = "unknown"  # the worker of a trial that was added by hand
_TALLEST = 900  # pixels


def timeline(facts: Facts) -> go.Figure:
    """Return a bar for each trial, on the line of its worker."""
    begun = [row for row in facts.rows if row.trial.datetime_start is not None]
    lanes = _lanes(begun)
    traces = [
        _bars([row for row in begun if row.state == state], color, state, lanes, facts.last_moment)
        for state, color in style.COLORS.items()
        if any(row.state == state for row in begun)
    ]
    return style.figure(
        traces,
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
    ordered = sorted(rows, key=lambda row: row.trial.datetime_start or datetime.max)
    workers = list(dict.fromkeys(_worker(row) for row in ordered))
    signed = [name for name in workers if name != _UNSIGNED]
    names = {name: f"worker {place}" for place, name in enumerate(signed, start=1)}
    return {name: names.get(name, name) for name in workers}


def _worker(row: Row) -> str:
    """Return who ran a trial: machine, process id, and when the process began."""
    return str(row.trial.user_attrs.get(WORKER, _UNSIGNED))


def _bars(
    rows: Sequence[Row], color: str, state: str, lanes: dict[str, str], last: datetime | None
) -> go.Bar:
    by_trial: dict[str, Any] = style.by_trial(rows)
    return go.Bar(
        base=[row.trial.datetime_start for row in rows],
        x=[_milliseconds(row, last) for row in rows],
        y=[lanes[_worker(row)] for row in rows],
        text=[escape(_worker(row)) for row in rows],
        textposition="none",
        orientation="h",
        name=state.lower(),
        marker={"color": color, "line": {"width": 1, "color": "rgba(128, 128, 128, 0.6)"}},
        width=0.7,
        hovertemplate="%{hovertext}<br>%{text}<extra></extra>",
        **by_trial,
    )


def _milliseconds(row: Row, last: datetime | None) -> int:
    """Return how long a trial ran; one that still runs, until the study's last known moment."""
    began = row.trial.datetime_start
    ended = row.trial.datetime_complete or last
    return 0 if began is None or ended is None else int((ended - began).total_seconds() * 1000)
