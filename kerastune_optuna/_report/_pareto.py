"""The figure of two objectives: all COMPLETE trials, and the front that none of them dominates."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from kerastune_optuna._report import _style
from kerastune_optuna._report._facts import Facts, Row, is_finite


def front(facts: Facts) -> go.Figure:
    """Return the COMPLETE trials by their first two objectives, those on the front above them.

    Of more than two objectives, a trial on the front may be worse than others in both.
    """
    rows = [row for row in facts.complete if all(map(is_finite, row.trial.values[:2]))]
    best = sorted((row for row in rows if row.rank == 1), key=lambda row: row.trial.values[0])
    others = [row for row in rows if row.rank != 1]
    traces = [
        _points(others, "dominated", "markers", _style.COLORS["COMPLETE"]),
        # Of more than two objectives the front is a surface, and a line would mislead.
        _points(best, "front", "lines+markers" if _are_two(facts) else "markers", _style.BEST),
    ]
    return _style.figure([trace for trace in traces if trace.x], *facts.metrics[:2])


def _are_two(facts: Facts) -> bool:
    return len(facts.metrics) == 2


def _points(rows: Sequence[Row], name: str, mode: str, color: str) -> go.Scatter:
    return go.Scatter(
        x=[row.trial.values[0] for row in rows],
        y=[row.trial.values[1] for row in rows],
        mode=mode,
        name=name,
        line={"color": color, "width": 1.5},
        marker={"color": color, "size": 8},
        hovertemplate="%{hovertext}<extra></extra>",
        **_style.by_trial(rows),
    )
