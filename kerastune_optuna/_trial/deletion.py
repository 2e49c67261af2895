"""Delete a study, the studies that are part of it, and all that their trials keep in the store."""

from __future__ import annotations

import warnings
from contextlib import suppress
from itertools import filterfalse

import optuna
from sqlalchemy.exc import SAWarning

from kerastune_optuna import _optuna
from kerastune_optuna._storage import StoreSource
from kerastune_optuna._study import liveness, parts_of
from kerastune_optuna._trial import backup, history, weights


def delete_study(study: optuna.Study, store: StoreSource) -> None:
    """Delete a study, the studies that are part of it, and their files.

    Raises:
        KeyError: Another process has deleted it.
    """
    for part in parts_of(study).values():
        with suppress(KeyError):
            _delete(part, store)
    _delete(study, store)


def _delete(study: optuna.Study, store: StoreSource) -> None:
    """Delete a study and what its own trials keep in the store, not those it was copied with."""
    storage = _optuna.storage_of(study)
    trials = study.get_trials(deepcopy=False)
    own = list(filterfalse(liveness.ran_elsewhere(study), trials))
    for trial in own:
        weights.discard(store, storage, trial)
        history.discard(store, storage, trial)
        backup.discard(store, trial)
    _remove(study)


def _remove(study: optuna.Study) -> None:
    """Delete a study by its id: its name may be that of a new one by now."""
    # SQLAlchemy warns where another process deletes the same rows at the same time.
    with warnings.catch_warnings(action="ignore", category=SAWarning):
        _optuna.storage_of(study).delete_study(_optuna.id_of(study))
