"""The style of figures, for light and dark pages, with a label for each trial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Row

# Each color is visible on white and on black. The first ones are drawn in the background.
COLORS = {"FAIL": "#e0524d", "PRUNED": "#858585", "RUNNING": "#1aa587", "COMPLETE": "#3d8bd9"}
BEST = "#ee7a22"
_INK, _GRID = "#808080", "rgba(128, 128, 128, 0.22)"
_TITLE = {"size": 13}
_MOST_PARAMS = 12  # in a label, which must fit on the screen


def figure(traces: Sequence[Any], x: str = "", y: str = "", **layout: Any) -> go.Figure:
    """Return a figure without a background, with titles for its axes.

    Args:
        traces: The traces that it shows.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        **layout: Further arguments for plotly's layout.
    """
    return dressed(go.Figure(list(traces)), x, y, **layout)


def dressed(drawn: go.Figure, x: str = "", y: str = "", **layout: Any) -> go.Figure:
    """Apply our style to a figure, which Optuna may have drawn, and add titles to its axes."""
    axis = {"gridcolor": _GRID, "zeroline": False, "automargin": True, "tickformat": "~g"}
    drawn.update_layout(
        title={"text": ""},
        template="none",
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        font={"color": _INK, "size": 13, "family": "system-ui, sans-serif"},
        margin={"l": 56, "r": 16, "t": 16, "b": 48},
        hovermode="closest",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        xaxis={**axis, "title": {"text": escape(x), "font": _TITLE}},
        yaxis={**axis, "title": {"text": escape(y), "font": _TITLE}},
    )
    return drawn.update_layout(**layout)


def label(row: Row) -> str:
    """Return the text that plotly shows if the pointer is over a trial, as HTML."""
    params = text.params(row.trial.params)
    if len(params) > _MOST_PARAMS:
        params = [*params[:_MOST_PARAMS], f"and {len(params) - _MOST_PARAMS} more"]
    value = f": {text.number(row.value)}" if row.value is not None else ""
    return "<br>".join(
        [f"<b>Trial {row.number}</b> {row.state}{value}", *(escape(param) for param in params)]
    )


def by_trial(rows: Iterable[Row], more: str = "") -> dict[str, Any]:
    """Return the arguments by which points show their trials' labels, with `more` below each.

    The page contains each label once, and finds it by the number of the trial in `customdata`.
    """
    rows = list(rows)
    labels = {row.number: label(row) for row in rows}
    return {
        "customdata": [row.number for row in rows],
        "hovertext": [labels[row.number] for row in rows],
        "hovertemplate": f"%{{hovertext}}{more}<extra></extra>",
    }


def points(rows: Sequence[Row], x: Sequence[Any], y: Sequence[Any], **look: Any) -> go.Scatter:
    """Return a trace with a marker for each trial, or with another mode of plotly."""
    return go.Scatter(x=x, y=y, **{"mode": "markers", **look}, **by_trial(rows))


def span(values: Iterable[float | None]) -> dict[str, Any]:
    """Return the range of an axis on which a few outliers do not flatten all other values."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not known:
        return {}
    low, high = np.percentile(known, [2, 98])
    width = high - low
    # An end without outliers is not cut off: all good values may be there.
    bottom, top = max(min(known), low - width), min(max(known), high + width)
    room = 0.05 * (top - bottom)
    return {"range": [float(bottom - room), float(top + room)]} if room else {}


def by_state(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by state, without empty states, those in the background first."""
    found = {state: [row for row in rows if row.state == state] for state in COLORS}
    return {state: rows for state, rows in found.items() if rows}
