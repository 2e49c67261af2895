"""Studies that are part of another one, as executions are of a search."""

from __future__ import annotations

import optuna
from optuna.storages import BaseStorage

from kerastune_optuna import _optuna
from kerastune_optuna._study import record


def make_part(study: optuna.Study, whole: str) -> None:
    """Write down that a study is part of another, and is to be deleted together with it."""
    study.set_user_attr(record.PART_OF, whole)


def whole_of(study: optuna.Study) -> str:
    """Return the name of the study that a study is part of, or else its own."""
    return str(study.user_attrs.get(record.PART_OF, study.study_name))


def wholes(storage: BaseStorage) -> dict[str, str | None]:
    """Return the names of all studies, each with that of the study that it is part of, if any."""
    # Optuna's study summaries read all trials too, and studies may be deleted meanwhile.
    return {one.study_name: one.user_attrs.get(record.PART_OF) for one in storage.get_all_studies()}


def family(study: optuna.Study) -> list[str]:
    """Return the names of the studies that are part of a study."""
    names = wholes(_optuna.storage_of(study)).items()
    return [part for part, whole in names if whole == study.study_name]


def beside(study: optuna.Study, name: str) -> optuna.Study:
    """Return another study of the same storage."""
    return optuna.load_study(study_name=name, storage=_optuna.storage_of(study))
