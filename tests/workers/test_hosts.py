"""Several hosts: a worker joins the study of its search or says why not, and SQLite stays whole."""

from __future__ import annotations

import shutil
import sqlite3

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from kerastune_optuna import WorkerError
from tests.support.hosts import mount_empty, network_folder, new_host, reached_by_ssh
from tests.support.untrained import run, tuner_in


@pytest.fixture(scope="module")
def host():
    """Give another host."""
    with new_host() as host:
        yield host


def states(tuner):
    """Return the states of the trials of a study."""
    return [trial.state.name for trial in tuner.study.trials]


@pytest.mark.slow
def test_a_host_without_the_file_makes_no_study_of_its_own(host, tmp_path):
    """Where the folder is another one, its worker trains nothing, makes nothing and says so."""
    folder = tmp_path / "tuning"
    tuner = tuner_in(folder, n_trials=2)
    assert tuner.study.trials == []
    host.do(mount_empty, folder)
    with pytest.raises(WorkerError, match=r"sees another one than .* PostgreSQL .*JournalStorage"):
        run(tuner, executor=host)
    assert "COMPLETE" not in states(tuner)
    assert host.do(lister, folder) == []


def lister(folder):
    """Return the names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def copy_of(source, folder):
    """Let another disk be at a folder, with a copy of a file."""
    mount_empty(folder)
    shutil.copy(source, folder / "study.db")


def test_a_study_of_that_name_from_earlier_is_not_taken_for_it(host, tmp_path):
    """A copy of the study, even, which another host has, is not the study of the search."""
    folder = tmp_path / "tuning"
    tuner = run(tuner_in(folder, n_trials=1))
    with sqlite3.connect(tmp_path / "copy.db") as copy, sqlite3.connect(folder / "study.db") as own:
        own.backup(copy)
    host.do(copy_of, tmp_path / "copy.db", folder)
    with pytest.raises(WorkerError, match="sees another one"):
        run(tuner_in(folder, n_trials=3), executor=host)
    assert states(tuner)[:1] == ["COMPLETE"]
    assert "COMPLETE" not in states(tuner)[1:]


def test_a_journal_that_a_host_does_not_see_is_named(host, tmp_path):
    """A storage object, too, that does not open elsewhere is told of by the worker."""
    folder = tmp_path / "tuning"
    folder.mkdir()
    journal = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    host.do(mount_empty, folder)
    with pytest.raises(WorkerError, match=r"journal\.log.* sees another one"):
        run(tuner_in(folder, storage=journal, n_trials=2), executor=host)


def test_a_host_that_sees_the_file_takes_part(host, tmp_path):
    """A worker that finds the study of its search runs its trials."""
    tuner = run(tuner_in(tmp_path, n_trials=2, pruner="none"), executor=host)
    assert states(tuner) == ["COMPLETE", "COMPLETE"]


def journal_mode(folder):
    """Return how SQLite keeps the study of a folder."""
    with sqlite3.connect(folder / "study.db") as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


@pytest.mark.slow
def test_a_network_disk_has_no_write_ahead_log(tmp_path):
    """On a network filesystem SQLite shares no memory between processes, and one line says so."""
    with network_folder(tmp_path) as folder:
        tuner = tuner_in(folder, n_trials=4, pruner="none")
        with pytest.warns(UserWarning, match=r"fuse\.sshfs.* PostgreSQL .*JournalStorage") as told:
            run(tuner, n_workers=2)
        assert len([one for one in told if "sshfs" in str(one.message)]) == 1
        assert states(tuner) == ["COMPLETE"] * 4
        assert journal_mode(folder) == "delete"
        tuner.study._storage._backend._backend.engine.dispose()


@pytest.mark.slow
def test_a_write_ahead_log_is_not_shared_over_a_network(host, tmp_path):
    """A worker that reaches the leader's local disk over a network leaves its database alone."""
    folder = tmp_path / "tuning"
    tuner = tuner_in(folder, n_trials=2)
    assert tuner.study.trials == []
    told = r"over fuse\.sshfs.* write-ahead log.* PostgreSQL"
    with reached_by_ssh(host, folder), pytest.raises(WorkerError, match=told):
        run(tuner, executor=host)
    assert journal_mode(folder) == "wal"
