"""The figure of two objectives: all COMPLETE trials, and the front that none of them dominates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from kerastune_optuna._report import style
from kerastune_optuna._report.facts import Facts, Row


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
        _points(others, "dominated", style.COLORS["COMPLETE"], mode="markers"),
        # No trial is between two of the front. A straight line would claim values there, and steps
        # do not: they go first that way in which no point of them is better than all trials.
        _points(best, "front", style.BEST, mode=mode, line={"shape": shape}),
    ]
    return style.figure([trace for trace in traces if trace.x], *facts.metrics[:2])


def _points(rows: Sequence[Row], name: str, color: str, **look: Any) -> go.Scatter:
    return go.Scatter(
        x=[row.trial.values[0] for row in rows],
        y=[row.trial.values[1] for row in rows],
        name=name,
        marker={"color": color, "size": 8},
        **look,
        **style.by_trial(rows),
    )
