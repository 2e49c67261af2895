"""Show what a study came to: tables, figures, and a page. The one door of this folder."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from kerastune_optuna import _check
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
    "best",
    "duration",
    "epochs_of",
    "params",
    "plot_curves",
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


def plot_curves(study: optuna.Study) -> go.Figure:
    """Return the figure of all learning curves and their median."""
    return _plots().curves(Facts(study))


def plot_importance(study: optuna.Study) -> go.Figure:
    """Return the figure of how much each parameter mattered."""
    return _plots().importance(Facts(study))


def write_page(study: optuna.Study, path: str | Path) -> Path:
    """Write everything about a study into one HTML file that needs no network.

    Args:
        study: A study of one objective, in whatever state its trials are.
        path: The file to write; its folder is made where there is none.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: The path cannot be that of a file, or the study has several objectives.
        MissingExtraError: plotly or jinja2 is not installed.
    """
    for package in ("plotly", "jinja2"):
        _check.installed(package, extra="plots")
    from kerastune_optuna._report import _page

    return _page.write(Facts(study), _check.file_to_write("path", path))


def best(study: optuna.Study) -> FrozenTrial | None:
    """Return the COMPLETE trial with the best value, the earliest of equals; None without any."""
    row = Facts(study).best
    return None if row is None else row.trial


def params(trial: FrozenTrial) -> str:
    """Return the parameters of a trial in one line."""
    return ", ".join(_text.params(trial.params)).replace("\n", " ")


def _plots() -> ModuleType:
    _check.installed("plotly", extra="plots")
    from kerastune_optuna._report import _figures

    return _figures
