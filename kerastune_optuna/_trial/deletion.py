"""Delete a study, the studies that are part of it, and all that their trials keep in the store."""

from __future__ import annotations

import warnings
from contextlib import suppress
from itertools import filterfalse
from uuid import uuid4

import optuna
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import SAWarning

from kerastune_optuna import _optuna
from kerastune_optuna._storage import StoreSource
from kerastune_optuna._study import beside, family, liveness, record
from kerastune_optuna._trial import backup, frozen, history, weights

_PLACE = "-overwritten-"  # in the names of the placeholders that `_keep_ids` makes


def delete_study(study: optuna.Study, store: StoreSource) -> None:
    """Delete a study, the studies that are part of it, and their files.

    Raises:
        KeyError: Another process has deleted it.
    """
    _keep_ids(study)
    for part in parts(study):
        with suppress(KeyError):
            _delete(beside(study, part), store)
    _delete(study, store)


def parts(study: optuna.Study) -> list[str]:
    """Return the names of the studies that are part of another one, without placeholders."""
    return [name for name in family(study) if _PLACE not in name]


def settle(study: optuna.Study) -> None:
    """Delete the placeholders of `_keep_ids` once a study has a trial, whose id is higher."""
    if not study.get_trials(deepcopy=False):
        return
    for name in family(study):
        if _PLACE in name:
            with suppress(KeyError):  # another process deleted it first
                _remove(beside(study, name))


def _keep_ids(study: optuna.Study) -> None:
    """Make a placeholder beside a study that is to be deleted: a study with the highest ids of all.

    Without it SQLite gives a new study and its trials the ids of the deleted ones, and a process
    that still has the old study open would write into the new one.
    """
    name = f"{study.study_name}{_PLACE}{uuid4().hex[:12]}"
    place = optuna.create_study(study_name=name, storage=_optuna.storage_of(study))
    place.set_user_attr(record.PART_OF, study.study_name)
    place.add_trial(create_trial(state=TrialState.FAIL))


def _delete(study: optuna.Study, store: StoreSource) -> None:
    """Delete a study and what its own trials keep in the store, not those it was copied with."""
    storage = _optuna.storage_of(study)
    trials = study.get_trials(deepcopy=False)
    own = list(filterfalse(liveness.ran_elsewhere(study), trials))
    for trial in own:
        weights.discard(store, storage, trial)
        history.discard(store, storage, trial)
        backup.discard(store, trial)
        backup.discard_ends(store, [trial], set())
    frozen.tidy(study, store, {trial.number for trial in own})
    _remove(study)


def _remove(study: optuna.Study) -> None:
    """Delete a study by its id: its name may be that of a new one by now."""
    # SQLAlchemy warns where another process deletes the same rows at the same time.
    with warnings.catch_warnings(action="ignore", category=SAWarning):
        _optuna.storage_of(study).delete_study(_optuna.id_of(study))
