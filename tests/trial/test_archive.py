"""Backups that fail."""

from __future__ import annotations

import errno

import optuna
import pytest

from kerastune_optuna import WeightsError
from kerastune_optuna._storage.artifacts import WholeFileStore


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
