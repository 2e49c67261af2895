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

from kerastune_optuna._report import style
from kerastune_optuna._report import text as _text
from kerastune_optuna._report.facts import Facts, Row

_GROUPS = 5  # of trials with one colour, from the worst to the best
_NARROW = 15  # characters above an axis
_CROWDED = 1.5  # decades: an axis of more has ticks only at powers of ten
_FEW = 8  # a range of whole numbers up to this wide has a tick at each
_SCALE = ["#8a8a8a", "#3d8bd9", "#ee7a22"]


@dataclass(frozen=True)
class _Kind:
    """Hold what kind of values a parameter has.

    Args:
        choices: What may be chosen; None for numbers.
        decades: Powers of ten that numbers on a logarithmic axis cover; None on a plain one.
        is_few: Whether they are whole, and few enough for a tick at each.
    """

    choices: list[str] | None
    decades: float | None
    is_few: bool

    @property
    def axis(self) -> dict[str, Any]:
        """The axis of plotly for such values."""
        if self.choices is not None:
            order = [escape(choice) for choice in self.choices]
            return {"type": "category", "categoryarray": order, "tickformat": ""}
        if self.decades is not None:
            return {"type": "log", **({"dtick": 1} if self.decades > _CROWDED else {})}
        return {"type": "linear", **({"dtick": 1} if self.is_few else {})}

    def shown(self, value: Any) -> Any:
        """Return a value as the axis takes it."""
        return value if self.choices is None else escape(_text.short(value))


def slices(facts: Facts, name: str) -> go.Figure:
    """Return the values of all trials over one parameter."""
    rows = [row for row in facts.rows if name in row.trial.params and math.isfinite(row.cost)]
    kind = _kind(facts, name)
    traces = [
        _dots(shown, name, kind, style.COLORS[state], 0.45 if state == "PRUNED" else 0.75)
        for state, shown in style.by_state(rows).items()
    ]
    if rows and rows[0].rank is not None:
        traces.append(_dots(rows[:1], name, kind, style.BEST, 1.0, size=12, symbol="star"))
    return style.figure(
        traces,
        _text.short(name),
        facts.metric,
        showlegend=False,
        xaxis={"nticks": 6, **kind.axis},
        yaxis=style.span(row.value or 0.0 for row in rows),
    )


def _dots(
    rows: Sequence[Row], name: str, kind: _Kind, color: str, opacity: float, **marker: Any
) -> go.Scatter:
    return go.Scatter(
        x=[kind.shown(row.trial.params[name]) for row in rows],
        y=[row.value for row in rows],
        mode="markers",
        marker={"color": color, "opacity": opacity, "size": 6, **marker},
        **style.by_trial(rows),
    )


@dataclass(frozen=True)
class _Axis:
    """Hold one upright axis: where a trial stands on it from 0 to 1, and what its ends say."""

    title: str
    place: Callable[[Row], float]
    ticks: Sequence[tuple[float, str]]


def parallel(facts: Facts, names: Sequence[str]) -> go.Figure:
    """Return a line for each COMPLETE trial through its parameters, coloured by its value."""
    rows = [row for row in facts.complete if math.isfinite(row.cost)]
    if not rows or not names:
        return style.figure([])
    axes = [_value_axis(facts, rows), *(_param_axis(facts, rows, name) for name in names)]
    traces = [
        _threads(group, axes, color)
        for group, color in zip(_groups(rows), sample_colorscale(_SCALE, _GROUPS), strict=True)
        if group
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
    return {"x": x, "y": y, "text": escape(text), **shape, **aside}


def _value_axis(facts: Facts, rows: Sequence[Row]) -> _Axis:
    values = [row.value or 0.0 for row in rows]
    return _number_axis(facts.metric, values, lambda row: row.value, is_log=False)


def _param_axis(facts: Facts, rows: Sequence[Row], name: str) -> _Axis:
    chosen = [row.trial.params[name] for row in rows if name in row.trial.params]
    kind = _kind(facts, name)
    if kind.choices is None:
        return _number_axis(
            name, chosen, lambda row: row.trial.params.get(name), is_log=kind.decades is not None
        )
    places = {
        choice: _between(at, 0, len(kind.choices) - 1) for at, choice in enumerate(kind.choices)
    }
    return _Axis(
        _text.short(name),
        lambda row: places.get(_text.short(row.trial.params.get(name, "")), math.nan),
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


def _kind(facts: Facts, name: str) -> _Kind:
    found = [trial.distributions[name] for trial in facts.trials if name in trial.distributions]
    choices: dict[str, None] = {}
    for one in found:
        if isinstance(one, CategoricalDistribution):
            choices |= dict.fromkeys(map(_text.short, one.choices))
    numbers = [one for one in found if isinstance(one, FloatDistribution | IntDistribution)]
    logs = [math.log10(one.high / one.low) for one in numbers if one.log]
    decades = max(logs) if logs and len(logs) == len(numbers) else None
    spans = [one.high - one.low for one in numbers if isinstance(one, IntDistribution)]
    is_few = len(spans) == len(found) and max(spans, default=0) <= _FEW
    return _Kind(list(choices) or None, decades, is_few)
