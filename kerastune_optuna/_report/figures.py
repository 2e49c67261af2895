"""Figures of the search as a whole, and the table of all that are shown."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kerastune_optuna._report import param_figures, style, text
from kerastune_optuna._report.facts import Facts, Row, curve
from kerastune_optuna._report.importances import counts, importances
from kerastune_optuna._report.timeline import timeline

_FEW_EPOCHS = 12  # with so few, each epoch has a tick
_MANY = 300  # curves: so many merge into a patch of colour unless they are thin
_WIDTH = {"COMPLETE": 1.3, "RUNNING": 2.0, "PRUNED": 1.0, "FAIL": 1.0}
_OPACITY = {"COMPLETE": 0.6, "RUNNING": 0.9, "PRUNED": 0.4, "FAIL": 0.5}


def history(facts: Facts) -> go.Figure:
    """Return the value of each trial, and the best one so far."""
    valued = [row for row in facts.rows if math.isfinite(row.cost)]
    traces: list[Any] = [_points(rows, state) for state, rows in style.by_state(valued).items()]
    complete = sorted(
        (one for one in valued if one.state == "COMPLETE"), key=lambda one: one.number
    )
    if complete:
        costs = np.minimum.accumulate([row.cost for row in complete])
        traces.append(
            go.Scatter(
                x=[row.number for row in complete],
                y=[facts.cost(float(cost)) for cost in costs],
                name="best so far",
                mode="lines",
                line={"color": style.BEST, "width": 2.5, "shape": "hv"},
                hovertemplate="best after trial %{x}: %{y:.6g}<extra></extra>",
            )
        )
    values = [row.value or 0.0 for row in valued]
    return style.figure(traces, "trial", facts.metric, yaxis=style.span(values))


def _points(rows: Sequence[Row], state: str) -> go.Scatter:
    marker = {"color": style.COLORS[state], "size": 7, "opacity": _OPACITY[state]}
    x, y = [row.number for row in rows], [row.value for row in rows]
    return style.points(rows, x, y, name=state.lower(), marker=marker)


def curves(facts: Facts) -> go.Figure:
    """Return the learning curves of all trials, with the median and the best one drawn on top."""
    traces: list[Any] = []
    thin = 0.5 if len(facts.trials) > _MANY else 1.0
    reported = [row for row in facts.rows if curve(row.trial)]
    for state, rows in style.by_state(reported).items():
        line = {"color": style.COLORS[state], "width": thin * _WIDTH[state]}
        traces += _lines(rows, state.lower(), line, _OPACITY[state])
    if (median := _median(facts)) is not None:
        traces.append(median)
    if facts.best is not None and curve(facts.best.trial):
        line = {"color": style.BEST, "width": 2.5}
        traces += _lines([facts.best], f"best (trial {facts.best.number})", line, 1.0)
    values = [value for trial in facts.trials for value in curve(trial).values()]
    longest = max((row.epochs_run or 0 for row in facts.rows), default=0)
    room = max(0.02 * longest, 0.2)
    axis: dict[str, Any] = {"range": [1 - room, longest + room]}
    if longest <= _FEW_EPOCHS:
        axis["dtick"] = 1
    return style.figure(traces, "epoch", facts.metric, xaxis=axis, yaxis=style.span(values))


def _lines(rows: Sequence[Row], name: str, line: dict[str, Any], opacity: float) -> list[Any]:
    """Return one trace for many curves, with a gap after each, and one trace for their ends."""
    each = [[(row, step + 1, value) for step, value in curve(row.trial).items()] for row in rows]
    points = [point for own in each for point in (*own, (own[0][0], 1, math.nan))]
    shared = {"name": escape(name), "legendgroup": name, "opacity": opacity}
    return [
        go.Scatter(**_xy(points), mode="lines", line=line, **shared),
        # The marker shows where pruning ended a curve, and alone shows a curve of one epoch.
        go.Scatter(
            **_xy([own[-1] for own in each]),
            mode="markers",
            marker={"color": line["color"], "size": 4},
            showlegend=False,
            **shared,
        ),
    ]


def _xy(points: Sequence[tuple[Row, int, float]]) -> dict[str, Any]:
    rows, epochs, values = zip(*points, strict=True)
    return {
        "x": epochs,
        "y": [style.rounded(value) for value in values],
        **style.by_trial(rows, "<br>epoch %{x}: %{y:.5g}"),
    }


def _median(facts: Facts) -> go.Scatter | None:
    values: dict[int, list[float]] = defaultdict(list)
    for trial in facts.trials:
        for step, value in curve(trial).items():
            values[step].append(value)
    if len(facts.trials) < 3 or not values:
        return None
    steps = sorted(values)
    return go.Scatter(
        x=[step + 1 for step in steps],
        y=[float(np.median(values[step])) for step in steps],
        name="median",
        mode="lines",
        line={"color": style.MEDIAN, "width": 2.5, "dash": "dash"},
        text=[len(values[step]) for step in steps],
        hovertemplate="median of the %{text} trials that ran epoch %{x}: %{y:.5g}<extra></extra>",
    )


def importance(facts: Facts) -> go.Figure:
    """Return a bar for each parameter, whose length is its importance."""
    found = dict(reversed(importances(facts).items()))
    pruned = sum(row.state == "PRUNED" and counts(row) for row in facts.rows)
    told = f"{pruned} PRUNED trials count by their best value" if pruned and found else ""
    bars = go.Bar(
        x=list(found.values()),
        y=[escape(text.short(name)) for name in found],
        orientation="h",
        marker={"color": style.COLORS["COMPLETE"]},
        texttemplate=" %{x:.0%}",
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    return style.figure(
        [bars] if found else [],
        "share of importance",
        height=110 + 34 * len(found),
        xaxis={"tickformat": ".0%", "rangemode": "tozero"},
        yaxis={"showgrid": False, "type": "category", "ticks": ""},
        margin={"r": 56, "t": 40 if told else 16},
        title={"text": told, "font": {"size": 13}, "x": 0},
    )


def front(facts: Facts) -> go.Figure:
    """Return the COMPLETE trials by their first two objectives, with the front drawn on top.

    Where there are more than two objectives, a trial on the front may be worse than others in both
    of these. Where there is one, there is nothing to draw.
    """
    several = facts.complete if facts.are_several else []
    rows = [row for row in several if all(map(math.isfinite, row.trial.values[:2]))]
    best = sorted((row for row in rows if row.rank == 1), key=lambda row: row.trial.values[0])
    others = [row for row in rows if row.rank != 1]
    # Of more than two objectives the front is a surface, and a line would mislead.
    mode = "lines+markers" if len(facts.metrics) == 2 else "markers"
    shape = "hv" if facts.directions[0] == "minimize" else "vh"
    traces = [
        _of_two(others, "dominated", style.COLORS["COMPLETE"]),
        # No trial is between two of the front. A straight line would claim values there, and steps
        # do not: they go first that way in which no point of them is better than all trials.
        _of_two(best, "front", style.BEST, mode=mode, line={"shape": shape}),
    ]
    return style.figure([trace for trace in traces if trace.x], *facts.metrics[:2])


def _of_two(rows: Sequence[Row], name: str, color: str, **look: Any) -> go.Scatter:
    x, y = ([row.trial.values[place] for row in rows] for place in (0, 1))
    return style.points(rows, x, y, name=name, marker={"color": color, "size": 8}, **look)


# The names are those by which page.html places the figures and plot() finds them. A figure without
# data says that there is nothing to draw.
FIGURES: dict[str, Callable[[Facts], go.Figure]] = {
    "front": front,
    "curves": curves,
    "history": history,
    "importance": importance,
    "contour": param_figures.contour,
    "parallel": param_figures.parallel,
    "timeline": timeline,
}
