"""Studies that are part of another one, as executions are of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_PART_OF = "part_of"  # the user attr of a study with the name of the one that it is part of


def make_part(study: optuna.Study, whole: str) -> None:
    """Write down that a study is part of another: it goes with it, and is not looked at alone."""
    study.set_user_attr(_PART_OF, whole)


def whole_of(study: optuna.Study) -> str:
    """Return the name of the study that a study is part of, or else its own."""
    return str(study.user_attrs.get(_PART_OF, study.study_name))


def wholes(storage: BaseStorage) -> dict[str, str | None]:
    """Return the names of all studies, each with that of the study that it is part of, if any."""
    studies = optuna.get_all_study_summaries(storage, include_best_trial=False)
    return {study.study_name: study.user_attrs.get(_PART_OF) for study in studies}
