"""Delete a study with all that its trials keep in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna

from kerastune_optuna import _backup, _history, _weights
from kerastune_optuna._store import StoreSource

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def delete_study(storage: BaseStorage, name: str, store: StoreSource) -> None:
    """Delete the study of that name and its files; nothing where it does not exist."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return
    for trial in study.get_trials(deepcopy=False):
        _weights.discard(store, storage, trial)
        _history.discard(store, storage, trial)
        _backup.discard(store, trial)
    optuna.delete_study(study_name=name, storage=storage)
