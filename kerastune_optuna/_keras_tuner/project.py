"""Make the finished trials of a KerasTuner project a study, which a search then goes on with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check
from kerastune_optuna._exceptions import StudyMismatchError
from kerastune_optuna._keras_tuner import conditions, entries, files, goals, ranges
from kerastune_optuna._keras_tuner.entries import Entry
from kerastune_optuna._keras_tuner.files import Notes, Written
from kerastune_optuna._study import Home, Objectives, adopt, opening, record

# What projects that are older than KerasTuner 1.2.0 may lack, and what follows from that.
_WITHOUT = {"conditions": "they count as active", "step": "all values between the ends count"}


@dataclass(frozen=True)
class Imported:
    """Hold what an import came to."""

    study: optuna.Study
    objectives: Objectives
    added: int
    with_weights: int
    left_out: int
    notes: Sequence[str]  # a line for each thing that could not be read


def import_project(
    project: Path,
    directory: Path,
    storage: str | None = None,
    name: str | None = None,
    wanted: Sequence[str] = (),
) -> Imported:
    """Add the finished trials of a project to a study, but for those that it has already.

    Args:
        project: The folder of the project.
        directory: The folder of the study's weights, and of its database without `storage`.
        storage: The URL of the database where the study is, or is made.
        name: The study. Default: the name of the folder.
        wanted: The metrics that KerasTuner searched by, where its files leave them open.

    Returns:
        The study, and how many trials were added and left out.

    Raises:
        ArgumentError: The folder is no project, or its objective is not certain.
        NoTrialsError: No trial of the project is completed.
        StudyMismatchError: The study exists and belongs to another search.
    """
    notes = Notes()
    trials = files.read(project, notes)
    found = goals.find(project, trials, wanted, notes)
    name = name or project.resolve().name
    opening.check_name(name)
    home = Home(name, directory, found, storage)
    _claim(home.study, project)
    new = _unknown(home.study, trials)
    spaces = {key: one for trial in home.study.trials for key, one in trial.distributions.items()}
    for trial in new:
        adopt(home, _as_ours(trial, found, spaces, notes), trial.weights)
    kept = sum(trial.is_complete and trial.weights is not None for trial in new)
    return Imported(home.study, found, len(new), kept, len(trials) - len(new), notes.lines)


def _unknown(study: optuna.Study, trials: Sequence[Written]) -> list[Written]:
    """Return the finished trials that a study does not have."""
    known = {trial.user_attrs.get(record.IMPORTED, {}).get("trial_id") for trial in study.trials}
    return [trial for trial in trials if trial.is_finished and trial.trial_id not in known]


def _claim(study: optuna.Study, project: Path) -> None:
    """Write into the study which project it comes from; refuse one that comes from another."""
    source, earlier = str(project.resolve()), study.user_attrs.get(record.IMPORTED)
    if earlier not in (None, source):
        raise StudyMismatchError(
            f"Study {study.study_name!r} has the trials of {earlier!r}, and {source!r} is another "
            "project. Pass another --study."
        )
    study.set_user_attr(record.IMPORTED, source)


def _as_ours(
    trial: Written, objectives: Objectives, spaces: dict[str, BaseDistribution], notes: Notes
) -> FrozenTrial:
    """Return a trial as our own search would have recorded it.

    Args:
        trial: What KerasTuner wrote of it.
        objectives: The objectives.
        spaces: The distributions that the study has by now; those of the trial are added.
        notes: Takes what cannot be read.
    """
    asked = list(_asked(trial, spaces, notes))
    values = _values(trial, objectives)
    metric = trial.metrics.get(objectives.watched.name)
    reports = dict(metric.values) if metric else {}
    return optuna.trial.create_trial(
        state=TrialState.FAIL if values is None else TrialState.COMPLETE,
        values=values,
        params={name: value for name, value, _ in asked},
        distributions={name: space for name, _, space in asked},
        intermediate_values={} if objectives.are_several else reports,
        user_attrs=_attrs(trial, values[objectives.watched.place] if values else None, reports),
    )


def _values(trial: Written, objectives: Objectives) -> list[float] | None:
    """Return the values of a trial; None where it failed, or one of several is not known."""
    if not trial.is_complete or trial.score is None:
        return None
    if not objectives.are_several:
        return [trial.score]
    return goals.values_at_best(trial, objectives.names)


def _attrs(trial: Written, value: float | None, reports: Mapping[int, float]) -> dict[str, Any]:
    """Return the user attrs of a trial: what ours have, and what only KerasTuner knows."""
    source = {
        "trial_id": trial.trial_id,
        "values": trial.values,
        "metrics": trial.as_written,
    }
    attrs: dict[str, Any] = {record.IMPORTED: source, record.STOP_REASON: trial.message}
    if value is None:
        return attrs
    attrs |= {record.BEST_VALUE: value, record.STOP_REASON: "imported from KerasTuner"}
    if trial.best_step is not None:
        # KerasTuner keeps the best epoch of a training, and not how many there were.
        epochs = max(reports, default=trial.best_step) + 1
        attrs |= {record.BEST_EPOCH: trial.best_step, record.EPOCHS_RUN: epochs}
    if shapes := trial.shapes:
        attrs[record.INPUTS] = json.dumps({"shapes": shapes, "batch": None})
    return attrs


def _asked(
    trial: Written, spaces: dict[str, BaseDistribution], notes: Notes
) -> Iterator[tuple[str, Any, BaseDistribution]]:
    """Yield name, value and distribution of each active hyperparameter that has a value."""
    seen = set()
    for one in trial.space:
        try:
            entry = entries.read(one["class_name"], one["config"])
            name, space = entry.name, entry.distribution
            is_asked = name in trial.values and name not in seen
            if not is_asked or not entry.is_active(trial.values):
                continue
            value = ranges.to_optuna(trial.values[name], space)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            notes.add(
                trial.folder.name, f"a hyperparameter cannot be read, and is left out: {error}"
            )
            continue
        seen.add(name)
        for key in _lacking(one):
            notes.add(trial.folder.name, f"hyperparameters have no {key!r}: {_WITHOUT[key]}.")
        # A default of the builder may lie between the steps, where no search would find it again.
        if _check.allows(space, value):
            yield _name_for(entry, spaces), value, space


def _lacking(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield which keys a hyperparameter lacks that later versions of KerasTuner write."""
    has_steps = one["class_name"] in ("Int", "Float")
    return (key for key in _WITHOUT if key not in one["config"] and (key != "step" or has_steps))


def _name_for(entry: Entry, spaces: dict[str, BaseDistribution]) -> str:
    """Return the name under which HyperParameters asks a trial for the same."""
    name, space = entry.name, entry.distribution
    for one in conditions.names(name, entry.conditions):
        if _check.fits(space, spaces.setdefault(one, space)):
            return one
    raise StudyMismatchError(
        f"The study has other values for {name!r}: {spaces[name]}, not {space}. Pass another "
        "--study."
    )
