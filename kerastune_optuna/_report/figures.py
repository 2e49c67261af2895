"""Figures of the whole search and of each parameter, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import accumulate
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go

from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Facts, Row, curve

# Each color is visible on white and on black. The first ones are drawn in the background.
_COLORS = {"FAIL": "#e0524d", "PRUNED": "#858585", "RUNNING": "#1aa587", "COMPLETE": "#3d8bd9"}
_BEST = "#ee7a22"
_INK, _GRID = "#808080", "rgba(128, 128, 128, 0.22)"
_WIDTH = {"COMPLETE": 1.3, "RUNNING": 2.0, "PRUNED": 1.0, "FAIL": 1.0}
_OPACITY = {"COMPLETE": 0.6, "RUNNING": 0.9, "PRUNED": 0.4, "FAIL": 0.5}
_TITLE = {"size": 13}
_MOST_PARAMS = 12  # in a label, which must fit on the screen


def history(facts: Facts) -> go.Figure:
    """Return the value of each trial, and the best one so far."""
    # Optuna's figure has no PRUNED trials and, with several objectives, no best value.
    valued = [row for row in facts.rows if math.isfinite(row.cost)]
    traces: list[Any] = []
    for state, rows in _by_state(valued).items():
        marker = {"color": _COLORS[state], "size": 7, "opacity": _OPACITY[state]}
        x, y = [row.number for row in rows], [row.value for row in rows]
        traces.append(_points(rows, x, y, name=state.lower(), marker=marker))
    complete = sorted(
        (row for row in valued if row.state == "COMPLETE"), key=lambda row: row.number
    )
    if complete:
        costs = accumulate((row.cost for row in complete), min)
        traces.append(
            go.Scatter(
                x=[row.number for row in complete],
                y=[facts.first.cost(cost) for cost in costs],
                name="best so far",
                mode="lines",
                line={"color": _BEST, "width": 2.5, "shape": "hv"},
                hovertemplate="best after trial %{x}: %{y:.6g}<extra></extra>",
            )
        )
    values = [row.value for row in valued]
    return _figure(traces, "trial", facts.first.name, yaxis=_span(values))


def curves(facts: Facts) -> go.Figure:
    """Return the learning curves of all trials, with the best one drawn on top."""
    # Optuna's figure has a trace for each trial, which is slow from some hundred trials on, and no
    # color says which ones were pruned.
    traces: list[Any] = []
    reported = [row for row in facts.rows if curve(row.trial)]
    for state, rows in _by_state(reported).items():
        line = {"color": _COLORS[state], "width": _WIDTH[state]}
        traces += _lines(rows, state.lower(), line, _OPACITY[state])
    if facts.best is not None and curve(facts.best.trial):
        line = {"color": _BEST, "width": 2.5}
        traces += _lines([facts.best], f"best (trial {facts.best.number})", line, 1.0)
    values = [value for trial in facts.trials for value in curve(trial).values()]
    return _figure(traces, "epoch", facts.first.name, yaxis=_span(values))


def _lines(rows: Sequence[Row], name: str, line: dict[str, Any], opacity: float) -> list[Any]:
    """Return one trace with all curves, separated by gaps, and one trace with their ends."""
    points, ends = [], []
    for row in rows:
        own = [(row, step + 1, value) for step, value in curve(row.trial).items()]
        points += [*own, (row, 1, math.nan)]
        ends.append(own[-1])
    # A marker shows where pruning ended a curve; a curve of one epoch has only a marker.
    dots = {"mode": "markers", "marker": {"color": line["color"], "size": 4}, "showlegend": False}
    shared = {"name": escape(name), "legendgroup": name, "opacity": opacity}
    traces = []
    for drawn, look in ((points, {"mode": "lines", "line": line}), (ends, dots)):
        trials, epochs, values = zip(*drawn, strict=True)
        # Only the digits that a screen can show, which halves the size of the values in the page.
        y = [float(f"{value:.5g}") for value in values]
        told = _by_trial(trials, "<br>epoch %{x}: %{y:.5g}")
        traces.append(go.Scatter(x=epochs, y=y, **told, **look, **shared))
    return traces


def importance(facts: Facts) -> go.Figure:
    """Return a bar for each parameter, whose length is its importance, as Optuna draws them."""
    found = facts.importances
    if not found:
        return _figure([])
    drawn = optuna.visualization.plot_param_importances(facts.study_of(facts.comparable))
    drawn.update_traces(
        y=[escape(text.short(name)) for name in drawn.data[0].y],
        marker={"color": _COLORS["COMPLETE"]},
        texttemplate=" %{x:.0%}",
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    return _figure(
        drawn,
        "share of importance",
        height=110 + 34 * len(found),
        xaxis={"tickformat": ".0%", "rangemode": "tozero"},
        yaxis={"showgrid": False, "type": "category", "ticks": ""},
        margin={"r": 56},
    )


def front(facts: Facts) -> go.Figure:
    """Return the COMPLETE trials by their first two objectives, with the front drawn on top.

    With more than two objectives, a trial on the front may be worse than others in both.
    With one objective, there is nothing to draw.
    """
    # Optuna's figure decides by itself which trials are the best: repeats of others are among them,
    # and if all trials break a constraint, none.
    several = facts.complete if facts.objectives.are_several else []
    rows = [row for row in several if all(map(math.isfinite, row.trial.values[:2]))]
    best = sorted((row for row in rows if row.rank == 1), key=lambda row: row.trial.values[0])
    others = [row for row in rows if row.rank != 1]
    # With more than two objectives, the front is a surface, and a line would mislead.
    mode = "lines+markers" if len(facts.objectives.names) == 2 else "markers"
    shape = "hv" if facts.objectives.directions[0] == "minimize" else "vh"
    # No trial lies between two neighbors on the front. A straight line would suggest one. Steps do
    # not: they go first in the direction in which no point is better than all trials.
    looks = {"dominated": {}, "front": {"mode": mode, "line": {"shape": shape}}}
    traces = []
    for name, shown, color in (("dominated", others, _COLORS["COMPLETE"]), ("front", best, _BEST)):
        x, y = ([row.trial.values[place] for row in shown] for place in (0, 1))
        marker = {"color": color, "size": 8}
        traces.append(_points(shown, x, y, name=name, marker=marker, **looks[name]))
    return _figure([trace for trace in traces if trace.x], *facts.objectives.names[:2])


def slices(facts: Facts, name: str) -> go.Figure:
    """Return the values of all trials over one parameter, as Optuna draws them."""
    rows = [row for row in facts.rows if name in row.trial.params and math.isfinite(row.cost)]
    if not rows:
        return _figure([])
    drawn = optuna.visualization.plot_slice(facts.study_of(rows), [name])
    # Optuna orders the points by choice, and the color of a point is its place among the rows.
    shown = [rows[place] for place in drawn.data[0].marker.color]
    looks = [
        (_BEST, 12, "star") if row is facts.best else (_COLORS[row.state], 6, "circle")
        for row in shown
    ]
    look = dict(zip(("color", "size", "symbol"), zip(*looks, strict=True), strict=True))
    marker = {**look, "opacity": 0.75, "line": {"width": 0}, "showscale": False}
    drawn.update_traces(marker=marker, **_by_trial(shown))
    # More ticks would overlap, but each choice needs one.
    ticks = {} if drawn.layout.xaxis.type == "category" else {"nticks": 4}
    values = [row.value for row in rows]
    return _figure(drawn, text.short(name), facts.first.name, xaxis=ticks, yaxis=_span(values))


def _figure(shown: go.Figure | Sequence[Any], x: str = "", y: str = "", **layout: Any) -> go.Figure:
    """Return a figure without a background, with titles for its axes.

    Args:
        shown: The traces that it shows, or a figure that Optuna has drawn.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        **layout: Further arguments for plotly's layout.
    """
    axis = {"gridcolor": _GRID, "zeroline": False, "automargin": True, "tickformat": "~g"}
    drawn = go.Figure(shown).update_layout(
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


def _by_trial(rows: Sequence[Row], more: str = "") -> dict[str, Any]:
    """Return the arguments by which points show their trials' labels, with `more` below each.

    The page contains each label once, and finds it by the number of the trial in `customdata`.
    """
    labels = {row.number: label(row) for row in rows}
    return {
        "customdata": [row.number for row in rows],
        "hovertext": [labels[row.number] for row in rows],
        "hovertemplate": f"%{{hovertext}}{more}<extra></extra>",
    }


def _points(rows: Sequence[Row], x: Sequence[Any], y: Sequence[Any], **look: Any) -> go.Scatter:
    """Return a trace with a marker for each trial, or with another mode of plotly."""
    return go.Scatter(x=x, y=y, **{"mode": "markers", **look}, **_by_trial(rows))


def _span(values: Iterable[float | None]) -> dict[str, Any]:
    """Return the range of an axis on which a few outliers do not flatten all other values."""
    finite = [value for value in values if value is not None and np.isfinite(value)]
    if not finite:
        return {}
    low, high = np.percentile(finite, [2, 98])
    width = high - low
    # An end without outliers is not cut off: all good values may be there.
    bottom, top = max(min(finite), low - width), min(max(finite), high + width)
    room = 0.05 * (top - bottom)
    return {"range": [float(bottom - room), float(top + room)]} if room else {}


def _by_state(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by state, without empty states, those in the background first."""
    found = {state: [row for row in rows if row.state == state] for state in _COLORS}
    return {state: rows for state, rows in found.items() if rows}


# By the names that plot() takes, in the order of the page.
FIGURES: dict[str, Callable[[Facts], go.Figure]] = {
    "front": front,
    "curves": curves,
    "history": history,
    "importance": importance,
}
