"""Read the finished trials of a KerasTuner project into a study, which a search then goes on with.

KerasTuner keeps a folder for each project: oracle.json, and trial_<id>/trial.json for each trial.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, NoTrialsError, StudyMismatchError
from kerastune_optuna._keras_tuner import conditions as _conditions
from kerastune_optuna._keras_tuner import ranges
from kerastune_optuna._keras_tuner.conditions import Condition
from kerastune_optuna._study import Objective, Objectives, opening, record

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_STATES = {
    "COMPLETED": TrialState.COMPLETE,
    "INVALID": TrialState.FAIL,
    "FAILED": TrialState.FAIL,
}


@dataclass(frozen=True)
class Imported:
    """Hold what an import came to."""

    study: optuna.Study
    objective: Objective
    added: int
    left_out: int


def import_project(
    project: Path, storage: BaseStorage, name: str | None = None, objective: str | None = None
) -> Imported:
    """Add the finished trials of a project to a study, but for those that it has already.

    Args:
        project: The folder of the project.
        storage: Where the study is, or is made.
        name: The study. Default: the name of the folder.
        objective: The metric that KerasTuner searched by, where its files leave it open.

    Returns:
        The study, and how many trials were added and left out.

    Raises:
        ArgumentError: The folder is no project, or its objective is not certain.
        NoTrialsError: No trial of the project is completed.
        StudyMismatchError: The study exists and belongs to another search.
    """
    trials = _read(project)
    found = _objective(project, trials, objective)
    name = name or project.resolve().name
    opening.check_name(name)
    study = opening.open_study(storage, name, Objectives((found,)))
    _claim(study, project)
    known = {trial.user_attrs.get(record.IMPORTED, {}).get("trial_id") for trial in study.trials}
    new = [trial for trial in trials if trial["trial_id"] not in known]
    finished = [trial for trial in new if trial["status"] in _STATES]
    spaces = {name: space for trial in study.trials for name, space in trial.distributions.items()}
    study.add_trials([_as_ours(trial, found, spaces) for trial in finished])
    return Imported(study, found, len(finished), len(trials) - len(finished))


def _read(project: Path) -> list[dict[str, Any]]:
    """Return what the project says of its trials, in the order in which they began.

    Raises:
        ArgumentError: The folder is no project, or one of its files is damaged.
    """
    if not (project / "oracle.json").is_file():
        within = sorted(str(path.parent) for path in project.glob("*/oracle.json"))
        held = f" It holds these: {', '.join(within)}." if within else ""
        raise ArgumentError(
            f"{str(project)!r} is no project of KerasTuner: it has no oracle.json.{held} Pass the "
            "folder directory/project_name of the tuner."
        )
    order = _load(project / "oracle.json").get("start_order", [])
    place = {trial_id: number for number, trial_id in enumerate(order)}
    files = sorted(project.glob("trial_*/trial.json"))
    trials = [_load(path) for path in files]
    return sorted(trials, key=lambda trial: place.get(trial["trial_id"], len(place)))


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"{str(path)!r} cannot be read: {error}. KerasTuner may have died while it wrote it: "
            "mend the file, or move the folder of that trial away."
        ) from error


def _objective(project: Path, trials: Sequence[Mapping[str, Any]], wanted: str | None) -> Objective:
    """Return by which metric the project was searched, which KerasTuner writes down nowhere.

    The score of each trial is the best value of that metric.
    """
    complete = [trial for trial in trials if trial["status"] == "COMPLETED"]
    if not complete:
        raise NoTrialsError(f"{str(project)!r} has no completed trial, and nothing to learn from.")
    metrics = complete[0]["metrics"]["metrics"]
    scored = [name for name in metrics if all(_is_scored_by(name, trial) for trial in complete)]
    name = scored[0] if len(scored) == 1 and wanted is None else wanted
    if name is None or name not in scored:
        came = "could be any of" if name is None else f"is not {name!r}, but one of"
        raise ArgumentError(
            f"The objective of {str(project)!r} {came}: {', '.join(scored) or 'none'}. Pass "
            "--objective with the one that its tuner had."
        )
    is_max = metrics[name]["direction"] == "max"
    return Objective(name, "maximize" if is_max else "minimize")


def _is_scored_by(name: str, trial: Mapping[str, Any]) -> bool:
    """Whether the score of a trial is the best value of a metric."""
    metric = trial["metrics"]["metrics"].get(name)
    if metric is None:
        return False
    best = max if metric["direction"] == "max" else min
    values = [value for value in _reports(metric).values() if not math.isnan(value)]
    return bool(values) and math.isclose(best(values), trial["score"])


def _reports(metric: Mapping[str, Any]) -> dict[int, float]:
    """Return the values of a metric by their steps, the means over all executions."""
    return {int(one["step"]): fmean(one["value"]) for one in metric["observations"]}


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
    trial: Mapping[str, Any], objective: Objective, spaces: dict[str, BaseDistribution]
) -> FrozenTrial:
    """Return a trial as our own search would have recorded it.

    Args:
        trial: What KerasTuner wrote of it.
        objective: The objective.
        spaces: The distributions that the study has by now; those of the trial are added.
    """
    state = _STATES[trial["status"]]
    is_complete = state is TrialState.COMPLETE
    metrics = trial["metrics"]["metrics"]
    reports = _reports(metrics[objective.name]) if objective.name in metrics else {}
    asked = list(_asked(trial["hyperparameters"], spaces))
    return optuna.trial.create_trial(
        state=state,
        value=float(trial["score"]) if is_complete else None,
        params={name: value for name, value, _ in asked},
        distributions={name: space for name, _, space in asked},
        intermediate_values=reports,
        user_attrs=_attrs(trial, reports, is_complete=is_complete),
    )


def _attrs(
    trial: Mapping[str, Any], reports: Mapping[int, float], *, is_complete: bool
) -> dict[str, Any]:
    """Return the user attrs of a trial: what ours have, and what only KerasTuner knows."""
    source = {
        "trial_id": trial["trial_id"],
        "values": trial["hyperparameters"]["values"],
        "metrics": trial["metrics"]["metrics"],
    }
    if not is_complete:
        lines = (trial["message"] or "").strip().splitlines()
        return {
            record.IMPORTED: source,
            "stop_reason": lines[-1] if lines else "failed in KerasTuner",
        }
    return {
        record.IMPORTED: source,
        "best_value": float(trial["score"]),
        "best_epoch": trial["best_step"],
        # KerasTuner keeps the best epoch of a training, and not how many there were.
        "epochs_run": max(reports) + 1,
        "stop_reason": "imported from KerasTuner",
    }


def _asked(
    hyperparameters: Mapping[str, Any], spaces: dict[str, BaseDistribution]
) -> Iterator[tuple[str, Any, BaseDistribution]]:
    """Yield name, value and distribution of each active hyperparameter that has a value."""
    values, seen = hyperparameters["values"], set()
    for one in hyperparameters["space"]:
        config = one["config"]
        conditions = [_condition(condition) for condition in config["conditions"]]
        is_active = all(condition.is_met(values) for condition in conditions)
        name = config["name"]
        if name not in values or name in seen or not is_active:
            continue
        seen.add(name)
        space = ranges.from_config(one["class_name"], config)
        value = ranges.to_optuna(values[name], space)
        # A default of the builder may lie between the steps, where no search would find it again.
        if _check.allows(space, value):
            yield _name_for(name, conditions, space, spaces), value, space


def _condition(written: Mapping[str, Any]) -> Condition:
    config = written["config"]
    return Condition(config["name"], _conditions.as_tuple(config["values"]))


def _name_for(
    name: str,
    conditions: Sequence[Condition],
    space: BaseDistribution,
    spaces: dict[str, BaseDistribution],
) -> str:
    """Return the name under which HyperParameters asks a trial for the same."""
    for one in _conditions.names(name, conditions):
        if _conditions.fits(space, spaces.setdefault(one, space)):
            return one
    raise StudyMismatchError(
        f"The study has other values for {name!r}: {spaces[name]}, not {space}. Pass another "
        "--study."
    )
