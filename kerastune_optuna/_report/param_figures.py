"""Figures of parameters: each against the value, all beside each other, two as a map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from plotly.colors import sample_colorscale

from kerastune_optuna._report import style
from kerastune_optuna._report import text as _text
from kerastune_optuna._report.facts import Facts, Row
from kerastune_optuna._report.importances import by_importance, counts, importances, study_of
from kerastune_optuna._report.scales import scale_of

_GROUPS = 5  # of trials with one colour each, from the worst to the best
_NARROW = 15  # characters above an axis
_CROWDED = 1.5  # decades: an axis of more has ticks only at powers of ten
_FEW = 8  # a range of whole numbers up to this wide has a tick at each
_SCALE = ["#8a8a8a", "#3d8bd9", "#ee7a22"]  # of these groups; the map has the last two
_FEWEST = 20  # trials: of fewer there is no map
_MATTERS = 0.1  # of all importance: there is no map of a parameter that matters less
_MAPPED = 100  # trials: the map of 1,000 would take 3 MB of the page


def slices(facts: Facts, name: str) -> go.Figure:
    """Return the values of all trials over one parameter."""
    rows = [row for row in facts.rows if name in row.trial.params and math.isfinite(row.cost)]
    axis = _axis(facts, name)
    traces = [
        _dots(shown, name, axis, style.COLORS[state], 0.45 if state == "PRUNED" else 0.75)
        for state, shown in style.by_state(rows).items()
    ]
    if rows and rows[0].rank is not None:
        traces.append(_dots(rows[:1], name, axis, style.BEST, 1.0, size=12, symbol="star"))
    return style.figure(
        traces,
        _text.short(name),
        facts.metric,
        showlegend=False,
        xaxis={"nticks": 6, **axis},
        yaxis=style.span(row.value or 0.0 for row in rows),
    )


def _axis(facts: Facts, name: str) -> dict[str, Any]:
    """Return plotly's axis for the values of a parameter."""
    found = [trial.distributions[name] for trial in facts.trials if name in trial.distributions]
    choices = [one.choices for one in found if isinstance(one, CategoricalDistribution)]
    if choices:
        order = dict.fromkeys(map(_as_category, chain.from_iterable(choices)))
        return {"type": "category", "categoryarray": list(order), "tickformat": ""}
    numbers = [one for one in found if isinstance(one, FloatDistribution | IntDistribution)]
    if all(one.log for one in numbers):
        is_wide = max(math.log10(one.high / one.low) for one in numbers) > _CROWDED
        return {"type": "log", **({"dtick": 1} if is_wide else {})}
    is_few = all(isinstance(one, IntDistribution) and one.high - one.low <= _FEW for one in numbers)
    return {"type": "linear", **({"dtick": 1} if is_few else {})}


def _as_category(choice: object) -> str:
    return escape(_text.short(choice))


def _dots(
    rows: Sequence[Row], name: str, axis: dict[str, Any], color: str, opacity: float, **marker: Any
) -> go.Scatter:
    values = [row.trial.params[name] for row in rows]
    x = list(map(_as_category, values)) if axis["type"] == "category" else values
    look = {"color": color, "opacity": opacity, "size": 6, **marker}
    return style.points(rows, x, [row.value for row in rows], marker=look)


@dataclass(frozen=True)
class _Axis:
    """Hold one upright axis: where trials stand on it from 0 to 1, and what is written there."""

    title: str
    places: Sequence[float]
    ticks: Sequence[tuple[float, str]]


def parallel(facts: Facts) -> go.Figure:
    """Return a line for each COMPLETE trial through its parameters, coloured by its value."""
    rows = [row for row in facts.complete if math.isfinite(row.cost)]
    names = by_importance(facts)
    if not rows or not names:
        return style.figure([])
    values = [row.value for row in rows]
    axes = [_number_axis(facts.metric, values), *(_param_axis(facts, rows, one) for one in names)]
    groups = reversed(np.array_split(np.arange(len(rows)), _GROUPS))
    traces = [
        _threads(rows, group, axes, color)
        for group, color in zip(groups, sample_colorscale(_SCALE, _GROUPS), strict=True)
        if group.size
    ]
    return style.figure(
        traces,
        showlegend=False,
        xaxis={
            "tickvals": list(range(len(axes))),
            "ticktext": [escape(_text.short(axis.title, _NARROW)) for axis in axes],
            "tickangle": 0,
            "automargin": False,
            "range": [-0.35, len(axes) - 0.65],
            "side": "top",
            "gridcolor": "rgba(128, 128, 128, 0.6)",
        },
        yaxis={"visible": False, "range": [-0.09, 1.09]},
        annotations=[_tick(x, *tick) for x, axis in enumerate(axes) for tick in axis.ticks],
        margin={"l": 16, "t": 40, "b": 16},
    )


def _threads(
    rows: Sequence[Row], group: Iterable[int], axes: Sequence[_Axis], color: str
) -> go.Scatter:
    points = [
        (rows[index], x, y)
        for index in group
        for x, y in [*enumerate(axis.places[index] for axis in axes), (0, math.nan)]
    ]
    return go.Scatter(
        x=[x for _, x, _ in points],
        y=[style.rounded(y) for _, _, y in points],
        mode="lines",
        line={"color": color, "width": 1.2},
        opacity=0.6,
        **style.by_trial(row for row, _, _ in points),
    )


def _tick(x: int, y: float, text: str) -> dict[str, Any]:
    """Return a text at a place of an axis; those of its ends stand clear of the lines."""
    shift = {0.0: -9, 1.0: 9}.get(y, 0)
    shape = {"showarrow": False, "font": {"size": 11}, "yshift": shift}
    aside = {} if shift else {"xanchor": "left", "xshift": 4}
    return {"x": x, "y": y, "text": text, **shape, **aside}


def _param_axis(facts: Facts, rows: Sequence[Row], name: str) -> _Axis:
    axis = _axis(facts, name)
    if axis["type"] != "category":
        values = [row.trial.params.get(name) for row in rows]
        return _number_axis(name, values, is_log=axis["type"] == "log")
    choices = axis["categoryarray"]
    places = {choice: _between(at, 0, len(choices) - 1) for at, choice in enumerate(choices)}
    chosen = [_as_category(row.trial.params.get(name, "")) for row in rows]
    ticks = [(place, choice) for choice, place in places.items()]
    return _Axis(name, [places.get(choice, math.nan) for choice in chosen], ticks)


def _number_axis(title: str, values: Sequence[float | None], *, is_log: bool = False) -> _Axis:
    scale = math.log if is_log else float
    known = sorted(value for value in values if value is not None)

    def place(value: float | None) -> float:
        if value is None:
            return math.nan
        return _between(scale(value), scale(known[0]), scale(known[-1]))

    ticks = [(place(end), _text.short(float(end))) for end in {*known[:1], *known[-1:]}]
    return _Axis(title, [place(value) for value in values], ticks)


def _between(value: float, low: float, high: float) -> float:
    return 0.5 if high == low else (value - low) / (high - low)


def contour(facts: Facts) -> go.Figure:
    """Return the map of the best trials; nothing where no two numbers matter."""
    two = [name for name, share in importances(facts).items() if share >= _MATTERS][:2]
    names = sorted(name for name in two if scale_of(facts, name))  # as Optuna orders the axes
    valued = sorted(filter(counts, facts.rows), key=lambda row: row.cost)
    if len(names) < 2 or len(valued) < _FEWEST:
        return style.figure([])
    first, second = names
    rows = [row for row in valued if all(one in row.trial.params for one in names)][:_MAPPED]
    (drawn, *_) = optuna.visualization.plot_contour(study_of(facts, rows), names).data
    drawn.update(
        colorscale=list(enumerate(_SCALE[1:])),
        reversescale=facts.cost(1) > 0,
        colorbar={"title": {"text": _text.short(facts.metric, 15)}},
        hoverinfo="skip",
    )
    x, y = ([row.trial.params[name] for row in rows] for name in names)
    return style.figure(
        [drawn, style.points(rows, x, y, marker={"color": "rgba(0, 0, 0, 0.6)", "size": 5})],
        _text.short(first),
        _text.short(second),
        showlegend=False,
        xaxis={"nticks": 6, **_axis(facts, first)},
        yaxis={"nticks": 6, **_axis(facts, second)},
    )
