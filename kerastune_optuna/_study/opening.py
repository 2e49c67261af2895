"""Find, create or open a study, and tell which of its trials count or were measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._exceptions import (
    ArgumentError,
    ArgumentTypeError,
    StorageError,
    StudyMismatchError,
)
from kerastune_optuna._storage import FILE, MARK, Location, connect, in_directory
from kerastune_optuna._study.objectives import Objectives, directions_of
from kerastune_optuna._study.record import StudyRecord, TrialRecord

_UNFIT = set('/\\:*?"<>|\0')  # characters that are not allowed in the name of a folder
_LONGEST = 255  # bytes of a folder's name on Linux; most letters that are not English have 2 or 3
DONE = (TrialState.COMPLETE, TrialState.PRUNED)  # the states that count towards n_trials


def find(storage: BaseStorage, name: str) -> optuna.Study | None:
    """Return the study of exactly that name; None if there is none. Nothing is written."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        # MySQL ignores case when it looks up a name.
        return study if storage.get_study_name_from_id(_optuna.id_of(study)) == name else None
    except KeyError:
        return None


def open_study(storage: BaseStorage, name: str, objectives: Objectives) -> optuna.Study:
    """Return the study of that name, which is created if it does not exist.

    Nothing is written to a study that exists, so that this also opens one to read.

    Raises:
        StudyMismatchError: The study exists with another objective or direction, or the database
            treats this name as that of another study.
    """
    study = known = find(storage, name)
    if study is None:
        study = optuna.create_study(
            storage=storage, study_name=name, directions=objectives.directions, load_if_exists=True
        )
        if (found := study.study_name) != name:  # the name in the database
            raise StudyMismatchError(
                f"Study {name!r} cannot be created, since study {found!r} exists: to the database, "
                f"the two names are equal. Pass study_name={found!r} to continue that study, or a "
                "name that differs by more than capitals."
            )
    ways, names = directions_of(study), study.metric_names or objectives.names
    if ways != objectives.directions or names != objectives.names:
        raise StudyMismatchError(
            f"Study {name!r} exists with another objective: {' and '.join(ways)} "
            f"{' and '.join(names)}, not {' and '.join(objectives.directions)} "
            f"{' and '.join(objectives.names)}. Pass another study_name, or overwrite=True to "
            "start anew."
        )
    if known is None:
        name_metrics(study, objectives)
    return study


def name_metrics(study: optuna.Study, objectives: Objectives) -> None:
    """Name the metrics of a study that is about to be written to, unless they have names."""
    if study.metric_names is None:
        # Optuna marks set_metric_names as experimental since 3.2, but has not changed it.
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(objectives.names)


def load(
    source: str | BaseStorage, name: str | None, how: str, patience: float | None = 0.0
) -> optuna.Study:
    """Return an existing study, without creating or writing anything.

    Args:
        source: The directory= of a search, or its storage or the URL of that.
        name: The name of the study; None if there is only one.
        how: How to pass a name, as in "--study with one of".
        patience: Seconds for which each call is retried while the storage does not answer; None for
            as many as a search waits.

    Raises:
        ArgumentError: There are several studies, or none of that name.
        StorageError: There is no database, or it cannot be opened.
    """
    shown, place = "storage=", source
    if isinstance(source, str):
        is_url = "://" in source
        place = source if is_url else in_directory(Path(source))
        shown = repr(Location(source).shown if is_url else source)
    if not Location(place).is_there:  # SQLite would make the file
        file = sqlalchemy.make_url(place).database if isinstance(place, str) else place
        raise StorageError(
            f"{shown} holds no study: there is no file {file!r}. Pass the directory= of a "
            "search that has begun, or the URL of its storage."
        )
    storage = connect(place, patience, make=False)
    wholes = _wholes(storage)
    if not wholes:
        raise StorageError(f"{shown} holds no study: no search has begun there.")
    searches = [study for study, whole in wholes.items() if whole is None]
    if name is None and len(searches) == 1:
        name = searches[0]
    if name not in wholes:
        came = "holds several studies" if name is None else f"holds no study {name!r}"
        raise ArgumentError(f"{shown} {came}. Pass {how}: {', '.join(sorted(wholes))}.")
    return optuna.load_study(study_name=name, storage=storage)


def _wholes(storage: BaseStorage) -> dict[str, str | None]:
    """Return, by the names of all studies, the name of the study that each is part of, or None."""
    # Optuna's study summaries would read all trials too, and studies may be deleted meanwhile.
    return {one.study_name: StudyRecord(one).part_of for one in storage.get_all_studies()}


def parts_of(study: optuna.Study) -> dict[str, optuna.Study]:
    """Return the studies that are part of a study, by name."""
    storage, parts = _optuna.storage_of(study), {}
    for name, whole in _wholes(storage).items():
        if whole == study.study_name:
            with suppress(KeyError):  # another process deleted it meanwhile
                parts[name] = optuna.load_study(study_name=name, storage=storage)
    return parts


def identity(study: optuna.Study) -> str:
    """Return a text that identifies a study with trials, even if its name was used before.

    It is the mark of the first trial, or, if other code added that trial, when it began.
    """
    first = study.get_trials(deepcopy=False)[0]
    began = first.datetime_start and first.datetime_start.astimezone(UTC)
    return str(first.system_attrs.get(MARK, began))


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Hide Optuna's INFO lines within a block, and then restore its logging."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def is_measured(trial: FrozenTrial) -> bool:
    """Whether one of our workers has measured a trial or measures it; trials of users compare."""
    has_result = trial.state not in (TrialState.FAIL, TrialState.WAITING)
    return TrialRecord(trial).worker is not None and has_result


def default_name(build_model: Callable[..., Any]) -> str:
    """Return the builder's name, for a study without study_name=."""
    function = getattr(build_model, "func", build_model)
    name = getattr(function, "__name__", type(function).__name__)
    return "study" if name == "<lambda>" else str(name)


def check_name(name: object) -> None:
    """Refuse a study name that cannot also be the name of a folder."""
    if name is None:
        return
    if not isinstance(name, str):
        raise ArgumentTypeError(f"study_name={name!r} is not a string. Pass a name like 'iris'.")
    is_long = len(name) > 200 or len(name.encode(errors="replace")) > _LONGEST
    if not name.strip() or name.startswith(".") or _UNFIT & set(name) or is_long:
        raise ArgumentError(
            f"study_name={name!r} cannot name a folder. Pass up to 200 characters of at most "
            f"{_LONGEST} bytes, without slashes or a leading dot, like 'iris-2'."
        )
    if name.lower().startswith(FILE):
        raise ArgumentError(
            f"study_name={name!r} is the name of a file in directory=, so the study cannot have "
            "its folder there. Pass another name, like 'iris-2'."
        )


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count towards n_trials: COMPLETE and PRUNED."""
    return study.get_trials(deepcopy=False, states=DONE)
