"""Figures of the whole search and of each parameter, and the table of figures that are shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import accumulate
from typing import Any, NamedTuple

import optuna
import plotly.graph_objects as go

from kerastune_optuna._report import style, text
from kerastune_optuna._report.facts import Facts, Row, curve
from kerastune_optuna._report.importances import counts, shares, study_of

_WIDTH = {"COMPLETE": 1.3, "RUNNING": 2.0, "PRUNED": 1.0, "FAIL": 1.0}
_OPACITY = {"COMPLETE": 0.6, "RUNNING": 0.9, "PRUNED": 0.4, "FAIL": 0.5}
_WIDE = 30  # the ratio from which a logarithmic range has ticks only at powers of ten


def history(facts: Facts) -> go.Figure:
    """Return the value of each trial, and the best one so far."""
    # Optuna's figure has no PRUNED trials and, with several objectives, no best value.
    valued = [row for row in facts.rows if math.isfinite(row.cost)]
    traces: list[Any] = []
    for state, rows in style.by_state(valued).items():
        marker = {"color": style.COLORS[state], "size": 7, "opacity": _OPACITY[state]}
        x, y = [row.number for row in rows], [row.value for row in rows]
        traces.append(style.points(rows, x, y, name=state.lower(), marker=marker))
    complete = sorted(
        (row for row in valued if row.state == "COMPLETE"), key=lambda row: row.number
    )
    if complete:
        costs = accumulate((row.cost for row in complete), min)
        traces.append(
            go.Scatter(
                x=[row.number for row in complete],
                y=[facts.cost(cost) for cost in costs],
                name="best so far",
                mode="lines",
                line={"color": style.BEST, "width": 2.5, "shape": "hv"},
                hovertemplate="best after trial %{x}: %{y:.6g}<extra></extra>",
            )
        )
    values = [row.value for row in valued]
    return style.figure(traces, "trial", facts.metric, yaxis=style.span(values))


def curves(facts: Facts) -> go.Figure:
    """Return the learning curves of all trials, with the best one drawn on top."""
    # Optuna's figure has a trace for each trial, which is slow from some hundred trials on, and no
    # color says which ones were pruned.
    traces: list[Any] = []
    reported = [row for row in facts.rows if curve(row.trial)]
    for state, rows in style.by_state(reported).items():
        line = {"color": style.COLORS[state], "width": _WIDTH[state]}
        traces += _lines(rows, state.lower(), line, _OPACITY[state])
    if facts.best is not None and curve(facts.best.trial):
        line = {"color": style.BEST, "width": 2.5}
        traces += _lines([facts.best], f"best (trial {facts.best.number})", line, 1.0)
    values = [value for trial in facts.trials for value in curve(trial).values()]
    return style.figure(traces, "epoch", facts.metric, yaxis=style.span(values))


def _lines(rows: Sequence[Row], name: str, line: dict[str, Any], opacity: float) -> list[Any]:
    """Return one trace with all curves, separated by gaps, and one trace with their ends."""
    each = [[(row, step + 1, value) for step, value in curve(row.trial).items()] for row in rows]
    points = [point for own in each for point in (*own, (own[0][0], 1, math.nan))]
    shared = {"name": escape(name), "legendgroup": name, "opacity": opacity}
    return [
        go.Scatter(**_xy(points), mode="lines", line=line, **shared),
        # A marker shows where pruning ended a curve; a curve of one epoch has only a marker.
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
        # Only the digits that a screen can show, which halves the size of the values in the page.
        "y": [float(f"{value:.5g}") for value in values],
        **style.by_trial(rows, "<br>epoch %{x}: %{y:.5g}"),
    }


def importance(facts: Facts) -> go.Figure:
    """Return a bar for each parameter, whose length is its importance, as Optuna draws them."""
    found = shares(facts)
    if not found:
        return style.figure([])
    drawn = optuna.visualization.plot_param_importances(study_of(facts, filter(counts, facts.rows)))
    drawn.update_traces(
        y=[escape(text.short(name)) for name in drawn.data[0].y],
        marker={"color": style.COLORS["COMPLETE"]},
        texttemplate=" %{x:.0%}",
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    return style.dressed(
        drawn,
        "share of importance",
        height=110 + 34 * len(found),
        xaxis={"tickformat": ".0%", "rangemode": "tozero"},
        yaxis={"showgrid": False, "type": "category", "ticks": ""},
        margin={"r": 56},
    )


def front(facts: Facts) -> go.Figure:
    """Return the COMPLETE trials by their first two objectives, with the front drawn on top.

    With more than two objectives, a trial on the front may be worse than others in both of these.
    With one objective, there is nothing to draw.
    """
    # Optuna's figure decides by itself which trials are the best: repeats of others are among them,
    # and if all trials break a constraint, none.
    several = facts.complete if facts.are_several else []
    rows = [row for row in several if all(map(math.isfinite, row.trial.values[:2]))]
    best = sorted((row for row in rows if row.rank == 1), key=lambda row: row.trial.values[0])
    others = [row for row in rows if row.rank != 1]
    # With more than two objectives, the front is a surface, and a line would mislead.
    mode = "lines+markers" if len(facts.metrics) == 2 else "markers"
    shape = "hv" if facts.directions[0] == "minimize" else "vh"
    traces = [
        _of_two(others, "dominated", style.COLORS["COMPLETE"]),
        # No trial lies between two neighbors on the front. A straight line would suggest one.
        # Steps do not: they go first in the direction in which no point is better than all trials.
        _of_two(best, "front", style.BEST, mode=mode, line={"shape": shape}),
    ]
    return style.figure([trace for trace in traces if trace.x], *facts.metrics[:2])


def _of_two(rows: Sequence[Row], name: str, color: str, **look: Any) -> go.Scatter:
    x, y = ([row.trial.values[place] for row in rows] for place in (0, 1))
    return style.points(rows, x, y, name=name, marker={"color": color, "size": 8}, **look)


def slices(facts: Facts, name: str) -> go.Figure:
    """Return the values of all trials over one parameter, as Optuna draws them."""
    rows = [row for row in facts.rows if name in row.trial.params and math.isfinite(row.cost)]
    if not rows:
        return style.figure([])
    drawn = optuna.visualization.plot_slice(study_of(facts, rows), [name])
    # Optuna orders the points by choice, and the color of a point is its place among the rows.
    shown = [rows[place] for place in drawn.data[0].marker.color]
    looks = [
        (style.BEST, 12, "star") if row is facts.best else (style.COLORS[row.state], 6, "circle")
        for row in shown
    ]
    look = dict(zip(("color", "size", "symbol"), zip(*looks, strict=True), strict=True))
    marker = {**look, "opacity": 0.75, "line": {"width": 0}, "showscale": False}
    drawn.update_traces(marker=marker, **style.by_trial(shown))
    x, kind = drawn.data[0].x, drawn.layout.xaxis.type
    # More ticks would overlap, but each choice needs one.
    ticks = {} if kind == "category" else {"nticks": 4}
    if kind == "log" and max(x) > _WIDE * min(x):
        ticks = {"dtick": 1}
    span = style.span(row.value for row in rows)
    return style.dressed(drawn, text.short(name), facts.metric, xaxis=ticks, yaxis=span)


class Section(NamedTuple):
    """Hold a figure with the texts around it on the page.

    Args:
        draw: Returns the figure, which is empty without data.
        heading: The text above it.
        without: The text in its place if it is empty.
        note: The text below it.
    """

    draw: Callable[[Facts], go.Figure]
    heading: str
    without: str
    note: str = ""


FIGURES = {
    "front": Section(
        front,
        "Front",
        "No trial is COMPLETE yet.",
        "No trial is better than one on the front in one objective without being worse in another. "
        "With more than two objectives, the first two are shown.",
    ),
    "curves": Section(
        curves,
        "Learning curves",
        "No trial has reported a value yet.",
        "A dot ends each curve. Click the legend to hide, drag to enlarge, double-click to see "
        "all.",
    ),
    "history": Section(history, "Best value over time", "No trial has a value yet."),
    "importance": Section(
        importance,
        "Importance of parameters",
        "Importance needs four trials with different values and parameters.",
        "By PED-ANOVA: what set the best tenth of the trials apart. PRUNED trials count with their "
        "best value.",
    ),
}  # by the names that plot() takes, in the order of the page
