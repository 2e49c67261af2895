"""Figures of parameters, which Optuna draws: each with the value, all together, two as a map."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import optuna
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from kerastune_optuna._report import style, text
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._report.importances import counts, importances, study_of
from kerastune_optuna._report.scales import scale_of

_SCALE = ["#8a8a8a", "#3d8bd9", "#ee7a22"]  # from the worst to the best; the map has the last two
_FEWEST = 20  # trials: of fewer there is no map
_MATTERS = 0.1  # of all importance: there is no map of a parameter that matters less
_CROWDED = 30  # a logarithmic range this wide has ticks at powers of ten alone
_FEW = 8  # a range of whole numbers up to this wide has a tick at each
_SHOWN = 100  # trials, the best: more lines or points would hide each other, and fill the page


def slices(facts: Facts, name: str) -> go.Figure:
    """Return the values of all trials over one parameter."""
    rows = [row for row in facts.rows if name in row.trial.params and math.isfinite(row.cost)]
    if not rows:
        return style.figure([])
    drawn = optuna.visualization.plot_slice(study_of(facts, rows), [name])
    # Optuna draws them choice by choice, and each in the color of its place among the rows.
    shown = [rows[place] for place in drawn.data[0].marker.color]
    looks = [
        (style.BEST, 12, "star") if row is facts.best else (style.COLORS[row.state], 6, "circle")
        for row in shown
    ]
    look = dict(zip(("color", "size", "symbol"), zip(*looks, strict=True), strict=True))
    marker = {**look, "opacity": 0.75, "line": {"width": 0}, "showscale": False}
    drawn.update_traces(marker=marker, **style.by_trial(shown))
    return style.dressed(
        drawn,
        text.short(name),
        facts.metric,
        xaxis=_ticks(facts, name),
        yaxis=style.span(row.value or 0.0 for row in rows),
    )


def _ticks(facts: Facts, name: str) -> dict[str, Any]:
    """Return where an axis of Optuna's has ticks, which else hide each other or are no values."""
    scale = scale_of(facts, name)
    if scale is None:
        return {}
    is_wide = scale.is_log and scale.high > _CROWDED * scale.low
    is_short = scale.step == 1 and scale.high - scale.low <= _FEW and not scale.is_log
    return {"dtick": 1} if is_wide or is_short else {"nticks": 6}


def parallel(facts: Facts) -> go.Figure:
    """Return a line for each of the best COMPLETE trials through its parameters."""
    rows = [row for row in facts.complete if math.isfinite(row.cost)][:_SHOWN]
    if not any(row.trial.params for row in rows):
        return style.figure([])
    drawn = optuna.visualization.plot_parallel_coordinate(
        study_of(facts, reversed(rows)), target_name=text.short(facts.metric)
    )
    *lines, scale = drawn.data
    for line in lines:
        place = line.y[0] if facts.cost(1) < 0 else 1 - line.y[0]
        line.line.color = sample_colorscale(_SCALE, place)[0]
    scale.marker.colorscale = [[0, _SCALE[0]], [0.5, _SCALE[1]], [1, _SCALE[2]]]
    drawn.update_annotations(font_color=style.INK)
    return style.dressed(drawn, xaxis={"ticktext": list(map(escape, drawn.layout.xaxis.ticktext))})


def contour(facts: Facts) -> go.Figure:
    """Return the map of the best trials; nothing where no two numbers matter."""
    two = [name for name, share in importances(facts).items() if share >= _MATTERS][:2]
    names = sorted(name for name in two if scale_of(facts, name))  # as Optuna orders the axes
    valued = sorted(filter(counts, facts.rows), key=lambda row: row.cost)
    if len(names) < 2 or len(valued) < _FEWEST:
        return style.figure([])
    rows = [row for row in valued if all(one in row.trial.params for one in names)][:_SHOWN]
    drawn = optuna.visualization.plot_contour(study_of(facts, rows), names)
    drawn.data = drawn.data[:2]
    colors, points = drawn.data
    colors.update(
        colorscale=list(enumerate(_SCALE[1:])),
        colorbar={"title": {"text": text.short(facts.metric, 15)}},
        hoverinfo="skip",
    )
    points.update(
        marker={"color": "rgba(0, 0, 0, 0.6)", "size": 5, "line": {"width": 0}},
        **style.by_trial(rows),
    )
    return style.dressed(
        drawn, *map(text.short, names), xaxis=_ticks(facts, names[0]), yaxis=_ticks(facts, names[1])
    )
