"""Find existing studies, by a directory, a URL or another study, without creating anything."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import BaseStorage

from kerastune_optuna import _optuna
from kerastune_optuna._exceptions import ArgumentError, StorageError
from kerastune_optuna._storage import database, masked
from kerastune_optuna._study.record import StudyRecord


def load(
    source: str | BaseStorage, name: str | None, how: str, patience: float = 0.0
) -> optuna.Study:
    """Return an existing study, without creating or writing anything.

    Args:
        source: The directory= of a search, or its storage or the URL of that.
        name: The name of the study; None if there is only one.
        how: How to pass a name, as in "--study with one of".
        patience: Seconds for which each call is retried while the storage does not answer.

    Raises:
        ArgumentError: There are several studies, or none of that name.
        StorageError: There is no database, or it cannot be opened.
    """
    is_path = isinstance(source, str) and "://" not in source
    place = database.in_directory(Path(str(source))) if is_path else source
    if not database.is_there(place):  # SQLite would make the file
        file = sqlalchemy.make_url(place).database if isinstance(place, str) else place
        raise StorageError(
            f"{_shown(source)} holds no study: there is no file {file!r}. Pass the directory= of a "
            "search that has begun, or the URL of its storage."
        )
    storage = database.connect(place, patience, make=False)
    parts_of = _wholes(storage)
    names = sorted(parts_of)
    searches = [one for one in names if parts_of[one] is None]
    if name is None and len(searches) == 1:
        name = searches[0]
    if not names:
        raise StorageError(f"{_shown(source)} holds no study: no search has begun there.")
    if name not in names:
        came = "holds several studies" if name is None else f"holds no study {name!r}"
        raise ArgumentError(f"{_shown(source)} {came}. Pass {how}: {', '.join(names)}.")
    return optuna.load_study(study_name=name, storage=storage)


def _shown(source: str | BaseStorage) -> str:
    if not isinstance(source, str):
        return "storage="
    return repr(masked(source) if "://" in source else source)


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
