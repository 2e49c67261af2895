"""Delete a study, those that are part of it, and all that their trials keep in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna

from kerastune_optuna import _backup, _history, _weights
from kerastune_optuna._parts import wholes
from kerastune_optuna._store import StoreSource

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def delete_study(storage: BaseStorage, name: str, store: StoreSource) -> None:
    """Delete the study of that name, those that are part of it, and their files, where they are."""
    for part in [one for one, whole in wholes(storage).items() if name in (one, whole)]:
        study = optuna.load_study(study_name=part, storage=storage)
        for trial in study.get_trials(deepcopy=False):
            _weights.discard(store, storage, trial)
            _history.discard(store, storage, trial)
            _backup.discard(store, trial)
        optuna.delete_study(study_name=part, storage=storage)
