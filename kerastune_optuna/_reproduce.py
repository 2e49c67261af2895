"""Train a trial again from its seed, and compare each of its epochs with what was recorded."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.console import Console
from rich.table import Table

from kerastune_optuna import _bundle, _card, _graphs, _history, _study
from kerastune_optuna._constraints import are_broken
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._history import EpochLogs
from kerastune_optuna._memory import Memory
from kerastune_optuna._monitor import plain_name
from kerastune_optuna._own_fit import worth
from kerastune_optuna._recipe import Recipe
from kerastune_optuna._refit import folder_for, train
from kerastune_optuna._retry import RETRY_OF
from kerastune_optuna._seeds import derive
from kerastune_optuna._store import WholeFileStore
from kerastune_optuna._study import REPEAT_OF
from kerastune_optuna._workers import take_over

if TYPE_CHECKING:
    import optuna
    import pandas

    from kerastune_optuna._card import Card

_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Value:
    """Hold a metric of an epoch, as it was recorded and as it came again."""

    epoch: int  # counted from 0
    metric: str
    recorded: float
    again: float | None  # None where the training did not come to it again

    @property
    def difference(self) -> float:
        """How far the two are apart: as a part of the recorded value where that is beyond 1."""
        if self.again is None:
            return math.inf
        if self.again == self.recorded or (math.isnan(self.again) and math.isnan(self.recorded)):
            return 0.0
        apart = abs(self.again - self.recorded) / max(1.0, abs(self.recorded))
        return math.inf if math.isnan(apart) else apart


@dataclass(frozen=True)
class Reproduction:
    """Hold what a trial came to when it was trained again.

    Args:
        trial: The trial.
        values: What was recorded, and what came again.
        changes: What is not as it was when the trial ran, like versions and data.
    """

    trial: FrozenTrial
    values: Sequence[Value]
    changes: Sequence[str]

    @property
    def difference(self) -> float:
        """The largest difference of all."""
        return max((value.difference for value in self.values), default=math.inf)

    def frame(self) -> pandas.DataFrame:
        """Return a row for each value."""
        import pandas  # takes half a second to import, and the command line does without

        columns = ["epoch", "metric", "recorded", "again", "difference"]
        rows = [[getattr(value, name) for name in columns] for value in self.values]
        return pandas.DataFrame(rows, columns=columns)

    def warning(self) -> str | None:
        """Return one line that says what has changed; None where nothing has."""
        if not self.changes:
            return None
        return f"Not as it was when trial {self.trial.number} ran: {'; '.join(self.changes)}"


def reproduce(
    study: optuna.Study, number: int, recipe: Recipe, builder: str | None = None
) -> Reproduction:
    """Train a trial again.

    Args:
        study: Its study, of which nothing is changed.
        number: Its number.
        recipe: What to train with.
        builder: The fingerprint of the builder; None where that is not known.

    Raises:
        ArgumentError: There is no such trial, or its data is not there.
    """
    trial, card = find(study, number)
    recipe = replace(recipe, fit=recipe.fit.opened())
    now = _card.describe_search(study, recipe, {"builder": builder or card.get("builder")})
    changes = [
        *_card.changes(card, now),
        *_changes_of_trial(study, trial, card),
        *_changes_of_order(recipe),
    ]
    logs = _Epochs(trial.user_attrs["epochs_run"])
    folder = folder_for(study.study_name, "reproduced", trial)
    with Memory().released():
        _, came = train(recipe, copy.deepcopy(trial), folder, last=[logs])
    if not logs.rows:  # the builder's own fit tells no more than what it returns
        watched = recipe.objectives.watched
        logs.rows = [{"epoch": 0, watched.name: worth(came, watched)}]
    return Reproduction(trial, _compare(_recorded(study, trial, recipe, logs), logs), changes)


def from_folder(study: optuna.Study, number: int, folder: Path) -> Reproduction:
    """Train a trial again in a process of its own, from what lies in the study's folder.

    This runs the code that lies there.
    """
    _, card = find(study, number)
    own = card["settings"]
    take_over((card["backend"], own["floatx"], own["image_data_format"], own["dtype_policy"]))
    recipe = _bundle.load(folder, card["kept"])
    store = WholeFileStore(folder / "weights")
    builder = _study.fingerprint(recipe.build_model) if _bundle.is_named(recipe) else None
    return reproduce(study, number, replace(recipe, store=store), builder)


def find(study: optuna.Study, number: int) -> tuple[FrozenTrial, Card]:
    """Return a trial that can be trained again, and the card of its search.

    Raises:
        ArgumentError: There is none of that number, it came to nothing, it has no card, or it broke
            a constraint before it was trained.
    """
    done = {trial.number: trial for trial in study.get_trials(deepcopy=False, states=_DONE)}
    if number not in done:
        listed = ", ".join(map(str, done)) or "none yet"
        raise ArgumentError(
            f"trial={number!r} is no COMPLETE or PRUNED trial. Pass one of: {listed}."
        )
    if (earlier := done[number].user_attrs.get(REPEAT_OF)) is not None:
        raise ArgumentError(
            f"Trial {number} repeats trial {earlier}, and was not trained. Pass {earlier}."
        )
    if are_broken(done[number]) and not done[number].user_attrs.get("epochs_run"):
        raise ArgumentError(
            f"Trial {number} was not trained, for it broke a constraint "
            f"({done[number].user_attrs.get('stop_reason')}). Pass one that was."
        )
    card = _card.read(study, done[number])
    if card is None:
        raise ArgumentError(
            f"Trial {number} has no card: it was added by hand, or by an older version. Train it "
            "by tuner.refit(), and compare the history that this returns."
        )
    return done[number], card


class _Epochs(EpochLogs):
    """Collect the logs of so many epochs, and end the training with the last of them.

    A pruned trial ended so. With fewer `epochs=` instead, callbacks that plan ahead would see
    another training, and TensorFlow's graphs might be optimised differently.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if len(self.rows) >= self._most:
            self.model.stop_training = True


def _changes_of_trial(study: optuna.Study, trial: FrozenTrial, card: Card) -> list[str]:
    """Return what makes a trial another than the one that its search would run."""
    first = trial
    while (before := first.user_attrs.get(RETRY_OF)) is not None:
        first = study.get_trials(deepcopy=False)[before]
    expected = None if card["seed"] is None else derive(card["seed"], first.number)
    seed = trial.user_attrs["seed"]
    changed = [] if expected in (None, seed) else [f"its seed was {expected} and is {seed}"]
    if are_broken(trial):
        changed.append("its time was over within an epoch, which none of equal length repeats")
    resumed = [] if first is trial else ["it was resumed, which no training repeats to the digit"]
    return changed + resumed


def _changes_of_order(recipe: Recipe) -> list[str]:
    """Return which data comes in an order that depends on the trials before."""
    return [
        f"{name} shuffles itself, in an order that goes on from trial to trial"
        for name in ("x", "validation_data")
        if _graphs.is_tf_dataset(data := getattr(recipe.fit, name)) and _graphs.shuffles_on(data)
    ]


def _recorded(
    study: optuna.Study, trial: FrozenTrial, recipe: Recipe, logs: EpochLogs
) -> list[Mapping[str, Any]]:
    """Return what was recorded of a trial's epochs: all logs where they are kept, else reports."""
    rows = _history.load(recipe.store, study._storage, trial)
    if rows:
        return list(rows)
    names = [name for row in logs.rows for name in row]
    watched = recipe.objectives.watched
    name = watched.find(dict.fromkeys(names)) or watched.name
    reports = sorted(trial.intermediate_values.items())
    return [{"epoch": step, name: value} for step, value in reports]


def _compare(recorded: Sequence[Mapping[str, Any]], logs: EpochLogs) -> list[Value]:
    again = {row["epoch"]: row for row in logs.rows}
    values: list[Value] = []
    for row in recorded:
        epoch = int(row["epoch"])
        came = again.get(epoch, {})
        names = _pairs(row, came)
        for metric, cell in row.items():
            if metric != "epoch" and (value := _number(cell)) is not None:
                values.append(
                    Value(epoch, metric, value, _number(came.get(names.get(metric, metric))))
                )
    return values


def _pairs(recorded: Iterable[str], again: Iterable[str]) -> dict[str, str]:
    """Return the names of metrics that came again by those that were recorded.

    Keras numbers its unnamed AUC(), Precision() ... through the whole process.
    """
    came: dict[str, list[str]] = {}
    for name in _in_order(again):
        came.setdefault(plain_name(name), []).append(name)
    found = [(name, came.get(plain_name(name))) for name in _in_order(recorded)]
    return {name: same.pop(0) for name, same in found if same}


def _in_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))  # auc_9 before auc_10


def _number(cell: Any) -> float | None:
    """Return the number in a cell; None where it is empty, or holds a text of a callback's."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def table(done: Reproduction, tolerance: float) -> str:
    """Return the differences of each epoch and what they come to, ready to print."""
    console = Console(highlight=False, force_jupyter=False)
    columns = Table(box=box.SIMPLE_HEAVY, pad_edge=False)
    for heading in ("epoch", "largest difference", "metric", "recorded", "again"):
        columns.add_column(heading, justify="right")
    for epoch in dict.fromkeys(value.epoch for value in done.values):
        values = [value for value in done.values if value.epoch == epoch]
        worst = max(values, key=lambda value: value.difference)
        again = "nothing" if worst.again is None else f"{worst.again:.8g}"
        cells = (f"{worst.difference:.3g}", worst.metric, f"{worst.recorded:.8g}", again)
        columns.add_row(str(epoch + 1), *cells)
    with console.capture() as captured:
        console.print(columns)
    return f"{captured.get()}{_verdict(done, tolerance)}"


def _verdict(done: Reproduction, tolerance: float) -> str:
    is_equal = done.difference <= tolerance
    kind = "is reproduced" if is_equal else "is NOT reproduced"
    return (
        f"Trial {done.trial.number} {kind}: the largest difference is {done.difference:.3g}, the "
        f"tolerance {tolerance:g}"
    )
