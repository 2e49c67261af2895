"""Open a study or go on with it, and write down what its trials share, like their epochs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError, StudyMismatchError
from kerastune_optuna._storage import MARK, database
from kerastune_optuna._study.objectives import Objectives
from kerastune_optuna._study.record import StudyRecord, TrialRecord

_UNFIT = set('/\\:*?"<>|\0')  # characters that the name of a folder may not have
DONE = (TrialState.COMPLETE, TrialState.PRUNED)  # the states that count towards n_trials


def open_study(storage: BaseStorage, name: str, objectives: Objectives) -> optuna.Study:
    """Return the study of that name, made where it does not exist.

    Raises:
        StudyMismatchError: It exists with another objective or direction, or the database takes
            this name for that of another study.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, directions=objectives.directions, load_if_exists=True
    )
    found = study.study_name  # as the database has it: MySQL ignores the case of letters
    if found != name:
        raise StudyMismatchError(
            f"Study {name!r} cannot be made beside study {found!r}: the database takes the two "
            f"names for one. Pass study_name={found!r} to go on with that one, or a name that "
            "differs by more than capitals."
        )
    check(study, objectives)
    if study.metric_names is None:
        # Optuna marks set_metric_names as experimental since 3.2 and keeps its place stable.
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(objectives.names)
    return study


def check(study: optuna.Study, objectives: Objectives) -> None:
    """Check that a study has our objectives; one without names for them needs the directions.

    Raises:
        StudyMismatchError: It has others.
    """
    found = [direction.name.lower() for direction in study.directions]
    names = study.metric_names or objectives.names
    if found != objectives.directions or names != objectives.names:
        raise StudyMismatchError(
            f"Study {study.study_name!r} exists and is to {' and '.join(found)} "
            f"{' and '.join(names)}, not to {' and '.join(objectives.directions)} "
            f"{' and '.join(objectives.names)}. Pass another study_name, or overwrite=True to "
            "start anew."
        )


def identity(study: optuna.Study) -> str:
    """Return what tells a study that has trials from others, also from a deleted one of its name.

    It is the mark of the first trial, or when that trial began where other code added it.
    """
    first = study.get_trials(deepcopy=False)[0]
    began = first.datetime_start and first.datetime_start.astimezone(UTC)
    return str(first.system_attrs.get(MARK, began))


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's INFO lines away from ours, and leave its logging as it was."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def note_epochs(study: optuna.Study, epochs: int, *, is_other: bool = False) -> None:
    """Write down how many epochs a trial may run, and which trial is the first with so many.

    Args:
        study: The study.
        epochs: How many.
        is_other: Whether trials get other data or arguments than earlier ones, whose results then
            say nothing about theirs.
    """
    if is_other or StudyRecord(study).epochs != epochs:
        trials = study.get_trials(deepcopy=False)
        begun = (trial.number for trial in trials if trial.state is not TrialState.WAITING)
        StudyRecord(study).epochs_since = max(begun, default=-1) + 1
        StudyRecord(study).epochs = epochs


def claim_trainings(study: optuna.Study, executions: int, folds: str | None) -> None:
    """Check that values of the study are means of such trainings; write down what ours will be.

    Args:
        study: The study that is about to be searched.
        executions: How often each configuration is trained, or each of its folds.
        folds: Tells the folds of one cross-validation from those of another; None for none.

    Raises:
        StudyMismatchError: Its values are means of other trainings, and do not compare with ours.
    """
    ours = {"executions_per_trial": executions, "cv": folds}
    found = StudyRecord(study).trainings or {"executions_per_trial": 1, "cv": None}
    if found == ours:
        return
    # Trials that no worker of ours ran count as comparable: the user has added them.
    if any(TrialRecord(trial).worker for trial in study.get_trials(deepcopy=False)):
        raise StudyMismatchError(
            f"Study {study.study_name!r} exists, and a value in it is the mean of other trainings: "
            f"of {_as_arguments(found)}, not of {_as_arguments(ours)}. Pass the same (cv= with the "
            "same data and seed=, a splitter with a random_state=), another study_name, or "
            "overwrite=True to start anew."
        )
    StudyRecord(study).trainings = ours


def _as_arguments(trainings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in trainings.items())


def default_name(build_model: Callable[..., Any]) -> str:
    """Return the builder's name, for a study that was given none."""
    function = getattr(build_model, "func", build_model)
    name = getattr(function, "__name__", type(function).__name__)
    return "study" if name == "<lambda>" else str(name)


def check_name(name: object) -> None:
    """Refuse a study name that cannot be the name of a folder too."""
    if name is None:
        return
    if not isinstance(name, str):
        raise ArgumentTypeError(f"study_name={name!r} is not a string. Pass a name like 'iris'.")
    if not name.strip() or name.startswith(".") or _UNFIT & set(name) or len(name) > 200:
        raise ArgumentError(
            f"study_name={name!r} cannot name a folder. Pass up to 200 characters without slashes "
            "or a leading dot, like 'iris-2'."
        )
    if name.lower().startswith(database.FILE):
        raise ArgumentError(
            f"study_name={name!r} is the name of a file in directory=, where the study has its "
            "folder. Pass another, like 'iris-2'."
        )


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count towards n_trials: COMPLETE and PRUNED."""
    return study.get_trials(deepcopy=False, states=DONE)
