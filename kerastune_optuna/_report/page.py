"""The figures of a study, one alone or all on a page; both need optional packages."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._report.hints import hints

if TYPE_CHECKING:
    import plotly.graph_objects as go


def plot(name: str, study: optuna.Study) -> go.Figure:
    """Return one of the figures, by its name in `figures.FIGURES`.

    Raises:
        ArgumentError: The front was requested, but the study has one objective.
        MissingExtraError: plotly is not installed.
    """
    _check.installed("plotly", extra="plots")
    from kerastune_optuna._report.figures import FIGURES

    facts = Facts(study)
    if name == "front" and not facts.objectives.are_several:
        raise ArgumentError(
            f"Study {study.study_name!r} has one objective, so it has one best trial and no front. "
            "Call plot_history() to see its values."
        )
    return FIGURES[name](facts)


def write_page(study: optuna.Study, path: str | Path) -> Path:
    """Write everything about a study into one HTML file that needs no network.

    Args:
        study: A study, whatever the states of its trials.
        path: The file to write; its folder is created if it does not exist.

    Returns:
        The path of the file.

    Raises:
        MissingExtraError: plotly or jinja2 is not installed.
    """
    for package in ("plotly", "jinja2"):
        _check.installed(package, extra="plots")
    facts, path = Facts(study), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(facts), encoding="utf-8")
    return path


def _page(facts: Facts) -> str:
    """Return the page as HTML."""
    import jinja2
    from plotly.io import to_json
    from plotly.offline import get_plotlyjs

    from kerastune_optuna._report import figures

    slices = {
        f"slice-{place}": figures.slices(facts, name)
        for place, name in enumerate(dict.fromkeys([*facts.importances, *facts.params]))
    }
    parts = {name: draw(facts) for name, draw in figures.FIGURES.items()} | slices
    for figure in parts.values():
        # The page has each label of a trial once, and page.js puts it into the figures.
        figure.update_traces(hovertext=None, selector=lambda trace: trace.customdata is not None)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # With both, the filter `tojson` writes figures, and escapes what would end their <script>.
    environment.policies["json.dumps_function"] = to_json
    environment.policies["json.dumps_kwargs"] = {"validate": False}
    return environment.get_template("page.html").render(
        plotly=get_plotlyjs(),
        facts=facts,
        text=text,
        hints=hints(facts),
        labels={row.number: figures.label(row) for row in facts.rows},
        parts=parts,
        slices=list(slices),
        now=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
