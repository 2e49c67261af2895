"""Show what a study came to: tables, figures, and a page. The one door of this folder."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._report import _text
from kerastune_optuna._report._facts import Facts, epochs_of, saved_epochs
from kerastune_optuna._report._frame import results
from kerastune_optuna._report._summary import summary, summary_html
from kerastune_optuna._report._text import duration, short

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go
    from optuna.trial import FrozenTrial

__all__ = [
    "aim",
    "duration",
    "epochs_of",
    "front",
    "metrics",
    "params",
    "plot_curves",
    "plot_front",
    "plot_history",
    "plot_importance",
    "results",
    "saved_epochs",
    "short",
    "summary",
    "summary_html",
    "write_page",
]


def plot_history(study: optuna.Study) -> go.Figure:
    """Return the figure of all values and of the best one so far."""
    return _plots().history(Facts(study))


def plot_front(study: optuna.Study) -> go.Figure:
    """Return the figure of two objectives and the front between them."""
    _check.installed("plotly", extra="plots")
    facts = Facts(study)
    if not facts.are_several:
        raise ArgumentError(
            f"Study {study.study_name!r} has one objective, and so one best trial and no front. "
            "Call plot_history() to see its values."
        )
    from kerastune_optuna._report import _pareto

    return _pareto.front(facts)


def plot_curves(study: optuna.Study) -> go.Figure:
    """Return the figure of all learning curves and their median."""
    return _plots().curves(Facts(study))


def plot_importance(study: optuna.Study) -> go.Figure:
    """Return the figure of how much each parameter mattered."""
    return _plots().importance(Facts(study))


def write_page(study: optuna.Study, path: str | Path) -> Path:
    """Write everything about a study into one HTML file that needs no network.

    Args:
        study: A study, in whatever state its trials are.
        path: The file to write; its folder is made where there is none.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: The path cannot be that of a file.
        MissingExtraError: plotly or jinja2 is not installed.
    """
    for package in ("plotly", "jinja2"):
        _check.installed(package, extra="plots")
    from kerastune_optuna._report import _page

    return _page.write(Facts(study), _check.file_to_write("path", path))


def front(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that no other one dominates: of one objective, the best trial alone."""
    return [row.trial for row in Facts(study).front]


def metrics(study: optuna.Study) -> list[str]:
    """Return the names of the objectives, in the order of their values."""
    return Facts(study).metrics


def aim(study: optuna.Study) -> str:
    """Return what a study is to do, like `maximize val_accuracy`."""
    return Facts(study).aim


def params(trial: FrozenTrial) -> str:
    """Return the parameters of a trial in one line."""
    return ", ".join(_text.params(trial.params)).replace("\n", " ")


def _plots() -> ModuleType:
    _check.installed("plotly", extra="plots")
    from kerastune_optuna._report import _figures

    return _figures
