"""The entry points for figures and the page, which need optional packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._report.facts import Facts

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
    if name == "front" and not facts.are_several:
        raise ArgumentError(
            f"Study {study.study_name!r} has one objective, so it has one best trial and no front. "
            "Call plot_history() to see its values."
        )
    return FIGURES[name].draw(facts)


def write_page(study: optuna.Study, path: str | Path) -> Path:
    """Write everything about a study into one HTML file that needs no network.

    Args:
        study: A study, whatever the states of its trials.
        path: The file to write; its folder is created if it does not exist.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: The path cannot be that of a file.
        MissingExtraError: plotly or jinja2 is not installed.
    """
    for package in ("plotly", "jinja2"):
        _check.installed(package, extra="plots")
    from kerastune_optuna._report import page

    return page.write(Facts(study), _check.file_to_write("path", path))
