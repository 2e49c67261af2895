"""The entry points of the reports: figures and the page, whose packages are optional, and lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._report import status as _lines
from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._storage import is_away, one_try

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go
    from optuna.trial import FrozenTrial

    from kerastune_optuna._study import Home


def plot(name: str, study: optuna.Study) -> go.Figure:
    """Return one of the figures, by its name in `figures.FIGURES`.

    Raises:
        ArgumentError: The study has one objective, of which there is no front.
        MissingExtraError: plotly is not installed.
    """
    _check.installed("plotly", extra="plots")
    from kerastune_optuna._report.figures import FIGURES

    facts = Facts(study)
    if name == "front" and not facts.are_several:
        raise ArgumentError(
            f"Study {study.study_name!r} has one objective, and so one best trial and no front. "
            "Call plot_history() to see its values."
        )
    return FIGURES[name](facts)


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
    from kerastune_optuna._report import page

    return page.write(Facts(study), _check.file_to_write("path", path))


def status(study: optuna.Study) -> Iterator[str]:
    """Yield lines that say how far a study is, its best trials, and what is running."""
    return _lines.status(Facts(study))


def line(study: optuna.Study, n_trials: int | None) -> str:
    """Return in one line what a study is to do, how far it is, and its best value."""
    return _lines.line(Facts(study), n_trials)


def glance(home: Home, n_trials: int | None) -> str:
    """Return `line` for a study that may not be open yet, or whose database may be away."""
    begins = f"study {home.name!r}: {home.objectives.aim}"
    try:
        with one_try():  # a database that is away is not waited for
            known = line(home.study, n_trials) if home.may_be_read else None
    except Exception as error:
        if not is_away(error):
            raise
        return f"{begins}, does not answer"
    return known or f"{begins}, not open yet"


def best(study: optuna.Study) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the parameters of the best trial; of several objectives, a list of the best trials.

    Raises:
        NoTrialsError: No trial is COMPLETE.
    """
    return _lines.best(Facts(study))


def card(study: optuna.Study, number: int | None = None) -> dict[str, Any]:
    """Return what a trial ran with: versions, devices, seeds, data and arguments.

    Args:
        study: The study of the trial.
        number: Its number; None for the latest one that has a card.

    Raises:
        ArgumentError: There is no such trial, or it has no card.
    """
    facts = Facts(study)
    cards = {trial.number: facts.card_of(trial) for trial in facts.trials}
    known = [one for one, card in cards.items() if card is not None]
    found = cards.get(max(known, default=-1) if number is None else number)
    if found is None:
        listed = f"Pass one of: {text.numbers(known)}." if known else "No trial of it has one."
        came = "has no card" if number is None else f"has no trial {number} with a card"
        raise ArgumentError(
            f"Study {study.study_name!r} {came}, which search() writes for its trials. {listed}"
        )
    return found


def params(trial: FrozenTrial) -> str:
    """Return the parameters of a trial in one line."""
    return text.params_line(trial.params)
