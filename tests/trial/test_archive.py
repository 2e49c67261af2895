"""Backups that fail, that take long, or that cost more than they are worth."""

from __future__ import annotations

import errno

import optuna
import pytest

from kerastune_optuna import WeightsError
from kerastune_optuna._storage.artifacts import WholeFileStore
from kerastune_optuna._trial import backup
from kerastune_optuna._trial.archive import Archive


@pytest.mark.slow
def test_a_backup_that_fails_changes_no_result(search, tmp_path):
    """Backups that cannot be written end the search with a line, after a trial as without them."""

    class FullStore(WholeFileStore):
        def write(self, artifact_id, content_body):
            if artifact_id.endswith(".backup"):
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(artifact_id, content_body)

    plain = search(n_trials=1, fit={"epochs": 5})
    options = {"study_name": "full", "artifact_store": FullStore(tmp_path), "backup_every": 0}
    with pytest.raises(WeightsError, match=r"Trial 0 could not be backed up: OSError: .*MB are ne"):
        search(n_trials=1, fit={"epochs": 5}, **options)
    study = optuna.load_study(study_name="full", storage=plain.study._storage)
    assert study.trials[0].value == plain.best_value
    assert study.trials[0].intermediate_values == plain.best_trial.intermediate_values


def test_the_first_epoch_is_backed_up_only_where_that_is_cheap(search, tmp_path, monkeypatch):
    """What only an interrupt would use is not written before its model's size allows that."""
    monkeypatch.setattr(backup, "SOON", 0)
    monkeypatch.setattr(backup, "_SPEED", 1)  # as if the model were large
    prepared = []
    prepare = Archive.prepare
    monkeypatch.setattr(
        Archive, "prepare", lambda self, write: (prepared.append(1), prepare(self, write))
    )
    search(n_trials=1, fit={"epochs": 2})
    assert not prepared
