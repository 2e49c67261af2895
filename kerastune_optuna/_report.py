"""What a study came to, as a DataFrame and as a table on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import optuna
    import pandas

# The user attrs of a trial that a reader looks for.
_ATTRS = (
    "best_value",
    "best_epoch",
    "epochs_run",
    "seconds",
    "seed",
    "stop_reason",
    "n_params",
    "worker",
)
_COLORS = {TrialState.COMPLETE: "green", TrialState.PRUNED: "yellow", TrialState.FAIL: "red"}


def results(study: optuna.Study) -> pandas.DataFrame:
    """Return a table with one row for each trial that began, in the order of their numbers.

    Columns: number, state, value, a `params_...` for each parameter, and the user attrs of trials.
    """
    import pandas  # takes half a second to import, and only results() needs it

    trials = _begun(study)
    names = sorted({name for trial in trials for name in trial.params})
    rows = [_row(trial, names) for trial in trials]
    columns = ["number", "state", "value", *(f"params_{name}" for name in names), *_ATTRS]
    return pandas.DataFrame(rows, columns=columns)


def _begun(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that began; a WAITING one is a place for a trial to come."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state is not TrialState.WAITING]


def _row(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value,
        **{f"params_{name}": trial.params.get(name) for name in names},
        **{attr: trial.user_attrs.get(attr) for attr in _ATTRS},
    }


def summary(study: optuna.Study, ranked: Sequence[FrozenTrial], n: int, metric: str) -> str:
    """Return the table of the best `n` trials, ready to print."""
    title = f"Study {study.study_name!r}: {study.direction.name.lower()} {metric}"
    table = Table(title=title, title_justify="left")
    for heading in ("rank", "trial", "value", "epoch", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("parameters", overflow="fold")
    for rank, trial in enumerate(ranked[:n], start=1):
        # Text, not str: rich would take brackets in a parameter for its markup.
        table.add_row(*(Text(cell) for cell in _cells(rank, trial)))
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(table)
        console.print(_counts(study))
    return captured.get()


def _cells(rank: int, trial: FrozenTrial) -> list[str]:
    attrs = trial.user_attrs
    # A study may hold trials that were added by hand, without the attrs of a training.
    epochs = f"{attrs['best_epoch'] + 1}/{attrs['epochs_run']}" if "epochs_run" in attrs else ""
    seconds = f"{attrs['seconds']:.1f}" if "seconds" in attrs else ""
    params = ", ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
    return [f"{rank}", f"{trial.number}", f"{trial.value:.6g}", epochs, seconds, params]


def _counts(study: optuna.Study) -> Text:
    """Return the line below the table: how many trials ended in each state, epochs, time."""
    trials = _begun(study)
    states = Counter(trial.state for trial in trials)
    line = Text(f"{len(trials)} trials: ")
    for state, count in states.items():
        line.append(f"{count} {state.name} ", style=_COLORS.get(state, ""))
    epochs = sum(trial.user_attrs.get("epochs_run", 0) for trial in trials)
    seconds = sum(trial.user_attrs.get("seconds", 0.0) for trial in trials)
    return line.append(f"in {epochs} epochs and {seconds:.1f} s of training")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
