"""Disks that are full, or on a network."""

import sqlite3
import sys
import warnings
from contextlib import nullcontext, suppress

import pytest

from kerastune_optuna import TunerError, WeightsError, WorkerError
from kerastune_optuna._storage import database
from tests.support import forks
from tests.support.faults import finished, small_disk, states
from tests.support.hosts import Inline, on_network
from tests.support.models import kept
from tests.support.untrained import Untrained, build, run, tuner_in


def build_large(trial):
    """Return a model whose weights take 1.9 MB."""
    return Untrained(160_000, [{"val_mae": trial.suggest_float("level", 0.0, 1.0)}])


@pytest.mark.slow
def test_a_full_disk_costs_no_result(tmp_path):
    """The disk fills while weights are written: the study keeps every result, older files stay."""
    with small_disk(tmp_path / "disk", "9m") as disk:
        options = {"keep_best": 30, "n_trials": 8, "pruner": "none"}
        with pytest.raises(WeightsError, match=r"MB free and 1\.9 MB are needed") as got:
            run(tuner_in(disk / "tuning", build_large, "val_mae", **options))
        assert str(disk) in str(got.value)
        assert len(str(got.value).splitlines()) == 1
        tuner = tuner_in(disk / "tuning", build_large, "val_mae", **options)
        results = [trial.value for trial in tuner.study.trials if trial.value is not None]
        files = kept(tuner)
        assert len(results) == len(files) + 1 >= 3
        for number in range(len(files)):
            bias = tuner.best_model(trial=number).layers[-1].bias.numpy().item()
            assert bias == pytest.approx(results[number], abs=1e-6)
        tuner.study._storage.remove_session()


@pytest.mark.slow
def test_a_database_on_a_full_disk_can_be_read(tmp_path, impatient):
    """Nothing at all can be written: the search ends with one line, and the study can be read."""

    def filling(trial):
        if trial.number == 2:
            with open(disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
                while filler.write(b"x" * 4096):
                    pass
        return build(trial)

    with small_disk(tmp_path / "disk", "4m") as disk:
        options = {"n_trials": 30, "keep_best": 0, "pruner": "none"}
        with pytest.raises(TunerError) as got:
            run(tuner_in(disk / "tuning", filling, **options))
        assert f"'{disk}/tuning' has 0.0 MB free" in str(got.value)
        assert len(str(got.value).splitlines()) == 1
        code = (
            "import optuna, sys; storage = f'sqlite:///{sys.argv[1]}/tuning/study.db';"
            "print(len(optuna.load_study(study_name='test', storage=storage).trials))"
        )
        command = [sys.executable, "-c", code, str(disk)]
        read = forks.run(command, capture_output=True, text=True, check=False)
        assert int(read.stdout) >= 3, read.stderr
        (disk / "filler").unlink()
        tuner = run(tuner_in(disk / "tuning", filling, **{**options, "n_trials": 4}))
        assert len(finished(tuner)) == 4
        tuner.study._storage.remove_session()


@pytest.mark.slow
@pytest.mark.parametrize("options", ["9m,nr_inodes=9", "300k"])
def test_a_disk_without_room_at_the_start_is_told_of(tmp_path, options):
    """The error names the folder and what is missing there, and no argument that nobody passed."""
    with small_disk(tmp_path / "disk", options) as disk:
        tuner = tuner_in(disk / "tuning", objective="val_mae", n_trials=1, storage="sqlite://")
        for number in range(9):
            with suppress(OSError):
                (disk / f"{number}").write_bytes(b"x" * 100_000)
        missing = "has no room for another file" if "inodes" in options else "has 0.0 MB free"
        with pytest.raises(WeightsError, match=f"'{disk}.*' {missing}.*Make room") as got:
            run(tuner)
        assert "artifact_store=" not in str(got.value)


def journal_mode(folder):
    with sqlite3.connect(folder / "study.db") as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_network_disk_has_no_write_ahead_log(tmp_path):
    """On a network filesystem SQLite shares no memory between processes, and one line says so."""
    with on_network(tmp_path):
        tuner = tuner_in(tmp_path, n_trials=2, pruner="none")
        with pytest.warns(UserWarning, match=r"fuse\.sshfs.* PostgreSQL .*JournalStorage") as told:
            run(tuner)
        assert len([one for one in told if "sshfs" in str(one.message)]) == 1
        assert states(tuner) == ["COMPLETE"] * 2
        assert journal_mode(tmp_path) == "delete"


@pytest.mark.parametrize(("disk", "synchronous"), [(on_network, 2), (nullcontext, 1)])
def test_without_a_write_ahead_log_each_write_is_synced_in_full(tmp_path, disk, synchronous):
    """Without one, a power cut during NORMAL (1) in place of FULL (2) could damage the file."""
    with disk(tmp_path), warnings.catch_warnings(action="ignore", category=UserWarning):
        storage = database.Location(database.connect(f"sqlite:///{tmp_path}/study.db"))
        with storage.database.engine.connect() as connection:
            said = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    assert said == synchronous


class OverNetwork(Inline):
    """Reach the disk of the process that leads the search over a network."""

    def __init__(self, folder):
        self._folder = folder

    def submit(self, *given, **keywords):
        """Run a task at once."""
        with on_network(self._folder):
            return super().submit(*given, **keywords)


def test_a_write_ahead_log_is_not_shared_over_a_network(tmp_path):
    """A worker that reaches the leader's local disk over a network leaves its database alone."""
    tuner = tuner_in(tmp_path, n_trials=2)
    assert tuner.study.trials == []
    told = r"over fuse\.sshfs.* write-ahead log.* PostgreSQL"
    with pytest.raises(WorkerError, match=told):
        run(tuner, executor=OverNetwork(tmp_path))
    assert journal_mode(tmp_path) == "wal"
