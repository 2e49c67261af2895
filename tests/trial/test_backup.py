"""How often a running trial is backed up, and what an interrupt alone would make use of."""

from __future__ import annotations

import pytest

from kerastune_optuna._storage.artifacts import WholeFileStore
from kerastune_optuna._trial import backup
from kerastune_optuna._trial.archive import Archive
from tests.untrained import run, tuner_in


class Counting(WholeFileStore):
    """Count the backups."""

    backups = 0

    def write(self, artifact_id, content_body):
        """Count, and write."""
        self.backups += artifact_id.endswith(".backup")
        super().write(artifact_id, content_body)


@pytest.mark.parametrize(("every", "backups"), [(0, 5), (3600, 0)])
def test_backup_every_says_how_often(tmp_path, every, backups):
    """With 0 each of five epochs is backed up, and with an hour none of them."""
    store = Counting(tmp_path / "store")
    options = {"n_trials": 1, "artifact_store": store, "backup_every": every}
    run(tuner_in(tmp_path, objective="val_mae", **options))
    assert store.backups == backups


def test_the_first_epoch_is_prepared_for_an_interrupt_where_that_costs_nothing(
    tmp_path, monkeypatch
):
    """A backup of a small model is made ready before anybody knows how long it takes."""
    monkeypatch.setattr(backup, "SOON", 0)
    monkeypatch.setattr(backup, "_BASE", 0)
    monkeypatch.setattr(backup, "_SPEED", 1e12)
    prepared, prepare = [], Archive.prepare

    def noted(self, write):
        prepared.append(self)
        prepare(self, write)

    monkeypatch.setattr(Archive, "prepare", noted)
    run(tuner_in(tmp_path, objective="val_mae", n_trials=1), epochs=2)
    assert prepared
