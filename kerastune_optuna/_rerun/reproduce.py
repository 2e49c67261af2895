"""Train a trial again from its seed, and compare each of its epochs with what was recorded."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _check, _source
from kerastune_optuna._backend import Memory
from kerastune_optuna._data import datasets
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._rerun.refit import Until, folder_for, train
from kerastune_optuna._study import Home, are_broken, derive, opening, plain_name, record
from kerastune_optuna._trial import TRAINING, Recipe, Row, history, worth
from kerastune_optuna._workers import card as card_
from kerastune_optuna._workers import shown_once

if TYPE_CHECKING:
    import pandas

# A metric of an epoch, recorded and trained again; epochs are counted from 0.
_COLUMNS = ["training", "epoch", "metric", "recorded", "again", "difference"]
_Value: TypeAlias = tuple[int, int, str, float, float | None, float]
# Arguments on a card that a recipe does not hold among the others for Model.fit.
_OF_ITS_OWN = {
    "callbacks",
    "cv",
    "epochs",
    "executions_per_trial",
    "steps_per_execution",
    "validation_split",
}


def reproduce(home: Home, recipe: Recipe, number: int) -> pandas.DataFrame:
    """Train a trial again, warn of what has changed since, and return how its epochs compare.

    Args:
        home: Where its study lives, of which nothing is changed.
        recipe: What to train with. Arguments that were plain values in the search, and are not
            given here, are what they were.
        number: The trial's.

    Raises:
        ArgumentError: There is no such trial.
    """
    import pandas  # takes half a second to import

    trial, card = find(home.existing, number)
    with shown_once():
        values, changes = _again(home, trial, card, _as_in_the_search(recipe, card["arguments"]))
    if changes:
        _check.warn(f"Not as it was when trial {number} ran: {'; '.join(changes)}")
    frame = pandas.DataFrame(values, columns=_COLUMNS)
    return frame if frame["training"].any() else frame.drop(columns="training")


def _as_in_the_search(recipe: Recipe, arguments: Mapping[str, Any]) -> Recipe:
    """Return a recipe with the plain arguments of a card, where it was given no others."""
    plain = {
        name: _with_numbers(value)
        for name, value in arguments.items()
        if name not in _OF_ITS_OWN and _is_whole(value)
    }
    fit = replace(
        recipe.fit,
        epochs=arguments["epochs"],
        steps_per_execution=arguments["steps_per_execution"],
        others={**plain, **recipe.fit.others},
    )
    return replace(recipe, fit=fit, executions=arguments["executions_per_trial"])


def _is_whole(value: Any) -> bool:
    """Whether a card holds an argument as it was: other texts only describe what was passed."""
    if isinstance(value, Mapping):
        return all(map(_is_whole, value.values()))
    if isinstance(value, list):
        return all(map(_is_whole, value))
    return isinstance(value, int | float) or value == "batch"


def _with_numbers(value: Any) -> Any:
    """Return class weights with numbers as keys again, which JSON holds as texts."""
    if not isinstance(value, Mapping):
        return value
    return {int(key) if key.lstrip("-").isdigit() else key: one for key, one in value.items()}


def _again(
    home: Home, trial: FrozenTrial, card: card_.Card, recipe: Recipe
) -> tuple[list[_Value], list[str]]:
    """Train a trial again; return how its values compare, and in words what has changed since."""
    study = home.existing
    recipe = replace(recipe, fit=recipe.fit.opened())
    now = card_.describe_search(
        study, recipe, {"builder": _source.fingerprint(recipe.build_model) or card.get("builder")}
    )
    changes = [
        *card_.changes(card, now),
        *_changes_of_trial(study, trial, card),
        *_changes_of_order(recipe),
    ]
    recorded = history.load(recipe.store, home.storage, trial)
    folder = folder_for(study.study_name, "reproduced", trial)
    values: list[_Value] = []
    for training, its in _of_each_training(trial, recipe, recorded).items():
        epochs = len(its) or trial.user_attrs[record.EPOCHS_RUN]
        again = _train(recipe, trial, folder, training, epochs)
        values += _compare(its or _reported(trial, recipe, again), again, training)
    return values, changes


def _of_each_training(
    trial: FrozenTrial, recipe: Recipe, recorded: Sequence[Row]
) -> dict[int, list[Row]]:
    """Return the recorded epochs of each training of a trial; most trials have one."""
    if recipe.n_trainings == 1:
        return {0: list(recorded)}
    if not recorded:
        raise ArgumentError(
            f"Trial {trial.number} is the mean of {recipe.n_trainings} trainings, whose histories "
            "keep_best=0 did not keep. Search with keep_best=1 or more."
        )
    found: dict[int, list[Row]] = {}
    for row in recorded:
        its = {name: cell for name, cell in row.items() if name != TRAINING}
        found.setdefault(int(row[TRAINING]), []).append(its)
    return found


def _train(
    recipe: Recipe, trial: FrozenTrial, folder: str, training: int, epochs: int
) -> list[Row]:
    """Train once more; return the logs of the epochs."""
    logs = Until([epochs])
    with Memory().released():
        _, came = train(recipe, copy.deepcopy(trial), folder, training=training, until=logs)
    if logs.rows:
        return logs.rows
    # The builder's own fit called no callback: there is only what it returned.
    watched = recipe.objectives.watched
    return [{"epoch": 0, watched.name: worth(came, watched)}]


def find(study: optuna.Study, number: int) -> tuple[FrozenTrial, card_.Card]:
    """Return a trial that can be trained again, and the card of its search.

    Raises:
        ArgumentError: There is none of that number, it came to nothing, it has no card, or it broke
            a constraint before it was trained.
    """
    done = {trial.number: trial for trial in study.get_trials(deepcopy=False, states=opening.DONE)}
    if number not in done:
        listed = ", ".join(map(str, done)) or "none yet"
        raise ArgumentError(
            f"trial={number!r} is no COMPLETE or PRUNED trial. Pass one of: {listed}."
        )
    if (earlier := done[number].user_attrs.get(record.REPEAT_OF)) is not None:
        raise ArgumentError(
            f"Trial {number} repeats trial {earlier}, and was not trained. Pass {earlier}."
        )
    if are_broken(done[number]) and not done[number].user_attrs.get(record.EPOCHS_RUN):
        raise ArgumentError(
            f"Trial {number} was not trained, for it broke a constraint "
            f"({done[number].user_attrs.get(record.STOP_REASON)}). Pass one that was."
        )
    card = card_.read(study, done[number])
    if card is None:
        raise ArgumentError(
            f"Trial {number} has no card: it was added by hand, or by an older version. Train it "
            "by tuner.refit(), and compare the history that this returns."
        )
    return done[number], card


def _changes_of_trial(study: optuna.Study, trial: FrozenTrial, card: card_.Card) -> list[str]:
    """Return in words what happened to a trial that keeps a training from repeating it."""
    first = trial
    while (before := first.user_attrs.get(record.RETRY_OF)) is not None:
        first = study.get_trials(deepcopy=False)[before]
    expected = None if card["seed"] is None else derive(card["seed"], first.number)
    seed = trial.user_attrs[record.SEED]
    changed = [] if expected in (None, seed) else [f"its seed was {expected} and is {seed}"]
    if are_broken(trial):
        changed.append("its time was over within an epoch, which none of equal length repeats")
    resumed = [] if first is trial else ["it was resumed, which no training repeats to the digit"]
    return changed + resumed


def _changes_of_order(recipe: Recipe) -> list[str]:
    """Return in words which data may come in an order that depends on the trials before."""
    return [
        f"{name} is large: where it shuffles, its order goes on from trial to trial"
        for name in ("x", "validation_data")
        if datasets.is_tf_dataset(data := getattr(recipe.fit, name)) and datasets.is_large(data)
    ]


def _reported(trial: FrozenTrial, recipe: Recipe, again: Sequence[Row]) -> list[Row]:
    """Return the epochs that a trial reported to Optuna, for a trial without a history."""
    names = [name for row in again for name in row]
    watched = recipe.objectives.watched
    name = watched.find(dict.fromkeys(names)) or watched.name
    reports = sorted(trial.intermediate_values.items())
    return [{"epoch": step, name: value} for step, value in reports]


def _compare(recorded: Sequence[Row], again: Sequence[Row], training: int) -> list[_Value]:
    by_epoch = {row["epoch"]: row for row in again}
    values: list[_Value] = []
    for row in recorded:
        epoch = int(row["epoch"])
        came = by_epoch.get(epoch, {})
        names = _pairs(row, came)
        for metric, cell in row.items():
            if metric != "epoch" and (value := _number(cell)) is not None:
                other = _number(came.get(names.get(metric, metric)))
                apart = _difference(value, other)
                values.append((training, epoch, metric, value, other, apart))
    return values


def _difference(recorded: float, again: float | None) -> float:
    """Return how far apart two values are; relative to the recorded one where that is beyond 1."""
    if again is None:
        return math.inf
    if again == recorded or (math.isnan(again) and math.isnan(recorded)):
        return 0.0
    apart = abs(again - recorded) / max(1.0, abs(recorded))
    return math.inf if math.isnan(apart) else apart


def _pairs(recorded: Iterable[str], again: Iterable[str]) -> dict[str, str]:
    """Return, for the recorded name of each metric, its name in the training that repeats it.

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
