"""Figures of parameters: each against the value, and all beside each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from plotly.colors import sample_colorscale

from kerastune_optuna._report import _style, _text
from kerastune_optuna._report._facts import Facts, Row

_GROUPS = 5  # of trials with one colour, from the worst to the best
_SCALE = ["#8a8a8a", "#3d8bd9", "#ee7a22"]


def slices(facts: Facts, name: str) -> go.Figure:
    """Return the values of all trials over one parameter."""
    rows = [row for row in facts.rows if name in row.trial.params and _is_finite(row.value)]
    is_log, is_choice = _kind(facts, name)
    traces = []
    for state, color in reversed(_style.COLORS.items()):
        shown = [row for row in rows if row.state == state]
        if shown:
            traces.append(_dots(shown, name, color, 0.45 if state == "PRUNED" else 0.75))
    if rows and rows[0].rank is not None:
        traces.append(_dots(rows[:1], name, _style.BEST, 1.0, size=12, symbol="star"))
    kind = "category" if is_choice else "log" if is_log else "linear"
    return _style.figure(
        traces,
        _text.short(name),
        facts.metric,
        showlegend=False,
        xaxis={"type": kind, "nticks": 6},
        yaxis=_style.span(row.value or 0.0 for row in rows),
    )


def _dots(rows: Sequence[Row], name: str, color: str, opacity: float, **marker: Any) -> go.Scatter:
    values = [row.trial.params[name] for row in rows]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return go.Scatter(
        x=values if numbers else [escape(_text.short(value)) for value in values],
        y=[row.value for row in rows],
        mode="markers",
        marker={"color": color, "opacity": opacity, "size": 6, **marker},
        hovertemplate="%{hovertext}<extra></extra>",
        **_style.by_trial(rows),
    )


@dataclass(frozen=True)
class _Axis:
    """Hold one upright axis: where a trial stands on it from 0 to 1, and what its ends say."""

    title: str
    place: Callable[[Row], float]
    ticks: Sequence[tuple[float, str]]


def parallel(facts: Facts, names: Sequence[str]) -> go.Figure:
    """Return a line for each COMPLETE trial through its parameters, coloured by its worth."""
    rows = [row for row in facts.complete if _is_finite(row.value)]
    if not rows or not names:
        return _style.figure([])
    axes = [_value_axis(facts, rows), *(_param_axis(facts, rows, name) for name in names)]
    traces = [
        _threads(group, axes, color)
        for group, color in zip(_groups(rows), sample_colorscale(_SCALE, _GROUPS), strict=True)
        if group
    ]
    return _style.figure(
        traces,
        showlegend=False,
        xaxis={
            "tickvals": list(range(len(axes))),
            "ticktext": [escape(axis.title) for axis in axes],
            "range": [-0.35, len(axes) - 0.65],
            "side": "top",
            "gridcolor": "rgba(128, 128, 128, 0.6)",
        },
        yaxis={"visible": False, "range": [-0.05, 1.05]},
        annotations=[_tick(x, *tick) for x, axis in enumerate(axes) for tick in axis.ticks],
        margin={"l": 16, "t": 40, "b": 16},
    )


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows in groups of like size, the worst group first."""
    parts = np.array_split(np.arange(len(rows)), _GROUPS)
    return [[rows[index] for index in part] for part in reversed(parts)]


def _threads(rows: Sequence[Row], axes: Sequence[_Axis], color: str) -> go.Scatter:
    points = [
        (row, x, y)
        for row in rows
        for x, y in [*enumerate(axis.place(row) for axis in axes), (0, math.nan)]
    ]
    return go.Scatter(
        x=np.asarray([x for _, x, _ in points], dtype="int32"),
        y=np.asarray([y for _, _, y in points], dtype="float32"),
        mode="lines",
        line={"color": color, "width": 1.2},
        opacity=0.6,
        hovertemplate="%{hovertext}<extra></extra>",
        **_style.by_trial(row for row, _, _ in points),
    )


def _tick(x: int, y: float, text: str) -> dict[str, Any]:
    shape = {"showarrow": False, "xanchor": "left", "xshift": 3, "font": {"size": 11}}
    return {"x": x, "y": y, "text": escape(text), **shape}


def _value_axis(facts: Facts, rows: Sequence[Row]) -> _Axis:
    values = [row.value or 0.0 for row in rows]
    return _number_axis(facts.metric, values, lambda row: row.value, is_log=False)


def _param_axis(facts: Facts, rows: Sequence[Row], name: str) -> _Axis:
    chosen = [row.trial.params[name] for row in rows if name in row.trial.params]
    is_log, is_choice = _kind(facts, name)
    if not is_choice:
        return _number_axis(name, chosen, lambda row: row.trial.params.get(name), is_log=is_log)
    choices = sorted({_text.short(value) for value in chosen})
    places = {choice: _between(at, 0, len(choices) - 1) for at, choice in enumerate(choices)}
    return _Axis(
        _text.short(name),
        lambda row: (
            places.get(_text.short(row.trial.params[name]), math.nan)
            if name in row.trial.params
            else math.nan
        ),
        [(place, choice) for choice, place in places.items()],
    )


def _number_axis(
    title: str, values: Sequence[float], of: Callable[[Row], float | None], *, is_log: bool
) -> _Axis:
    scale = math.log if is_log else float
    low, high = min(values, default=0.0), max(values, default=1.0)

    def place(row: Row) -> float:
        value = of(row)
        return math.nan if value is None else _between(scale(value), scale(low), scale(high))

    ends = [(_between(scale(end), scale(low), scale(high)), end) for end in {low, high}]
    return _Axis(_text.short(title), place, [(at, _text.short(float(end))) for at, end in ends])


def _between(value: float, low: float, high: float) -> float:
    return 0.5 if high == low else (value - low) / (high - low)


def _kind(facts: Facts, name: str) -> tuple[bool, bool]:
    """Return whether a parameter is drawn on a logarithmic axis, and whether it is a choice."""
    found = [trial.distributions[name] for trial in facts.trials if name in trial.distributions]
    is_choice = any(isinstance(one, CategoricalDistribution) for one in found)
    is_log = all(isinstance(one, FloatDistribution | IntDistribution) and one.log for one in found)
    return is_log and bool(found), is_choice


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
