"""The value over the two numbers that matter most, as a map."""

from __future__ import annotations

from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import create_trial

from kerastune_optuna._report import style, text
from kerastune_optuna._report.facts import Facts, Row
from kerastune_optuna._report.hints import two_that_matter
from kerastune_optuna._report.scales import Scale
from kerastune_optuna._study import opening

_MOST = 100  # trials: the map of 1,000 would take 3 MB of the page
_SCALE = ["#3d8bd9", "#ee7a22"]  # from the worst to the best


def contour(facts: Facts) -> go.Figure:
    """Return the map of the best trials; nothing where no two numbers matter."""
    two, rows = two_that_matter(facts)
    if len(two) < 2:
        return style.figure([])
    first, second = sorted(two, key=lambda scale: scale.name)  # as Optuna orders the axes
    names, rows = [first.name, second.name], rows[:_MOST]
    (drawn, *_) = optuna.visualization.plot_contour(_study(facts, rows, names), names).data
    drawn.update(
        colorscale=list(enumerate(_SCALE)),
        reversescale=facts.cost(1) > 0,
        colorbar={"title": {"text": text.short(facts.metric, 15)}},
        hoverinfo="skip",
    )
    return style.figure(
        [drawn, _points(rows, names)],
        text.short(first.name),
        text.short(second.name),
        showlegend=False,
        xaxis=_axis(first),
        yaxis=_axis(second),
    )


def _study(facts: Facts, rows: list[Row], names: list[str]) -> optuna.Study:
    """Return a study of these trials with two parameters alone, PRUNED ones by their best value."""
    with opening.quiet_optuna():
        study = optuna.create_study(direction=facts.study.directions[facts.place])
    study.add_trials(
        create_trial(
            value=row.value,
            params={name: row.trial.params[name] for name in names},
            distributions={name: row.trial.distributions[name] for name in names},
        )
        for row in rows
    )
    return study


def _axis(scale: Scale) -> dict[str, Any]:
    return {"type": "log" if scale.is_log else "linear", "nticks": 6}


def _points(rows: list[Row], names: list[str]) -> go.Scatter:
    first, second = ([row.trial.params[name] for row in rows] for name in names)
    return go.Scatter(
        x=first,
        y=second,
        mode="markers",
        marker={"color": "rgba(0, 0, 0, 0.6)", "size": 5},
        hovertemplate="%{hovertext}<extra></extra>",
        **style.by_trial(rows),
    )
