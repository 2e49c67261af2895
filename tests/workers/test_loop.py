"""What a worker does: it joins its study, and takes, runs and tells trials until it may stop."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from kerastune_optuna import WorkerError
from tests.support import forks
from tests.support.faults import ROOT, WATCHDOG, finished, meet, states, wait_until
from tests.support.hosts import mount_empty, new_host
from tests.support.marks import mostly_nightly
from tests.support.servers import proxy
from tests.support.storages import KINDS, empty, opened
from tests.support.untrained import Untrained, build, has_best_weights, run, tuner_in


def run_by(log, n_workers, n_trials, **options):
    """Search with a builder that writes the number of each trial, once all workers are there."""

    def noting(trial):
        meet(log.parent, n_workers)
        if isinstance(trial, optuna.Trial):  # not where a model that was kept is built again
            with open(log, "a") as file:
                file.write(f"{trial.number}\n")
        return build(trial)

    options = {"n_trials": n_trials, "pruner": "none", **options}
    tuner = tuner_in(log.parent / "tuning", noting, "val_mae", **options)
    run(tuner, n_workers=n_workers, verbose=2)
    assert states(tuner) == ["COMPLETE"] * n_trials
    runs = Counter(int(line) for line in log.read_text().split())
    assert runs == {trial.number: 1 for trial in finished(tuner)}
    assert has_best_weights(tuner)
    return tuner


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_workers_run_each_trial_once(tmp_path, capfd, kind):
    """Sixteen trials are run, none twice, all distinct, by three processes without an error."""
    with empty(kind, tmp_path) as storage:
        tuner = run_by(tmp_path / "log", 3, 16, storage=opened(storage))
        out, err = capfd.readouterr()
        assert len({tuple(trial.params.values()) for trial in finished(tuner)}) == 16
        assert tuner.results()["worker"].nunique() == 3
        told = [line.split()[1] for line in out.splitlines() if line.startswith("Trial ")]
        assert sorted(told) == sorted(f"{trial.number}:" for trial in finished(tuner))
        assert "Traceback" not in err
        assert "Error" not in err


COPY = """
import sys, time
from pathlib import Path
from kerastune_optuna._workers import writable_study
from tests.support import storages
from tests.support.faults import wait_until
from tests.support.untrained import build, run, tuner_in
folder, storage, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
storage = storages.opened(storage or None)
def slow(trial):
    time.sleep(0.1)
    return build(trial)
tuner = tuner_in(folder, slow, "val_mae", storage=storage, n_trials=40, pruner="none")
(folder / f"{sys.argv[4]}.ready").touch()
wait_until((folder / "moment").exists)
time.sleep(max(0, float((folder / "moment").read_text()) - time.time()))
if what == "search":
    run(tuner)
else:
    writable_study(tuner._home)
    tuner._home.store.check()
"""


def start_together(folder, storage, what, copies):
    """Start copies of a script that search, or only open the study and check the store, at once."""
    command = [sys.executable, "-c", COPY, str(folder), storage or "", what]
    started = [
        forks.start([*command, str(number)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for number in range(copies)
    ]
    wait_until(lambda: len(list(folder.glob("*.ready"))) == copies)
    (folder / "part").write_text(f"{time.time() + 0.3}")
    (folder / "part").rename(folder / "moment")
    errors = [copy.communicate()[1] for copy in started]
    ended = zip(started, errors, strict=True)
    assert [said[-999:] for copy, said in ended if copy.returncode] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_forty_copies_of_a_script_may_start_at_once(tmp_path, kind):
    """Each finds the one study and a store that it can write; no file of a check is left."""
    with empty(kind, tmp_path) as storage:
        start_together(tmp_path, storage, "open", 40)
        study = tuner_in(tmp_path, build, "val_mae", storage=opened(storage)).study
        assert optuna.get_all_study_names(study._storage) == ["test"]
        assert list((tmp_path / "test" / "weights").iterdir()) == []


SEVERAL = [
    *(
        pytest.param(kind, 6, marks=pytest.mark.slow)
        for kind in ("postgresql", "sqlite", "journal")
    ),
    *(pytest.param(kind, 48, marks=pytest.mark.nightly) for kind in (*KINDS, *["sqlite"] * 4)),
]


@pytest.mark.parametrize(("kind", "copies"), SEVERAL)
def test_copies_of_a_script_that_start_together_share_a_study(tmp_path, kind, copies):
    """Copies started at once on an empty storage run 40 trials in all, in one study."""
    with empty(kind, tmp_path) as storage:
        start_together(tmp_path, storage, "search", copies)
        tuner = tuner_in(tmp_path, build, "val_mae", storage=opened(storage))
        ran = tuner.results()  # without what was one too many
        assert ran["state"].tolist() == ["COMPLETE"] * 40, ran["stop_reason"].tolist()
        assert not tuner.study.get_trials(states=[TrialState.WAITING, TrialState.RUNNING])
        assert tuner.results()["worker"].nunique() > 1
        assert len(optuna.get_all_study_names(tuner.study._storage)) == 1


@pytest.mark.parametrize(
    "behind", mostly_nightly(["postgresql", "journal", "mariadb"], "postgresql", "journal")
)
@pytest.mark.filterwarnings("ignore:GrpcStorageProxy is experimental")  # as Optuna marks it
def test_the_grpc_proxy_serves_workers(tmp_path, behind):
    """Optuna's gRPC server in front of what the guide names is a storage for two workers."""
    with empty(behind, tmp_path) as given, proxy(given) as port:
        storage = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
        storage.wait_server_ready(timeout=WATCHDOG)
        run_by(tmp_path / "log", 2, 6, storage=storage)
        storage.close()


def test_what_failed_is_not_suggested_again(tmp_path):
    """Of three choices the one that fails is drawn once, and the study has the user's sampler."""

    def build(trial):
        if trial.suggest_categorical("kind", ["bad", "good", "better"]) == "bad":
            raise RuntimeError("no such luck")
        trial.suggest_categorical("constant", [1])
        return Untrained(2, [{"val_mae": 1.0}])

    sampler = optuna.samplers.RandomSampler(seed=0)
    options = {"n_trials": 8, "sampler": sampler, "train_repeats": True, "pruner": "none"}
    tuner = run(tuner_in(tmp_path, build, "val_mae", **options))
    kinds = [trial.params["kind"] for trial in tuner.study.trials]
    assert kinds.count("bad") == 1
    assert tuner.study.sampler is sampler


@pytest.fixture(scope="module")
def host():
    with new_host() as host:
        yield host


@pytest.mark.slow
@pytest.mark.parametrize("file", ["study.db", "journal.log"])
def test_a_host_without_the_file_makes_no_study_of_its_own(host, tmp_path, file):
    """Where the folder is another one, its worker trains nothing, makes nothing and says so."""
    (folder := tmp_path / "tuning").mkdir()
    storage = None if file == "study.db" else opened(f"{folder}/{file}")
    tuner = tuner_in(folder, n_trials=2, storage=storage)
    assert tuner.study.trials == []
    host.do(mount_empty, folder)
    told = rf"{file}.* sees another storage than .* PostgreSQL .*JournalStorage"
    with pytest.raises(WorkerError, match=told):
        run(tuner, executor=host)
    assert "COMPLETE" not in states(tuner)
    assert host.do(os.listdir, folder) == []


def copy_of(source, folder):
    mount_empty(folder)
    shutil.copy(source, folder / "study.db")


@pytest.mark.slow
def test_a_study_of_that_name_from_earlier_is_not_taken_for_it(host, tmp_path):
    """A copy of the study, even, which another host has, is not the study of the search."""
    folder = tmp_path / "tuning"
    tuner = run(tuner_in(folder, n_trials=1))
    with sqlite3.connect(tmp_path / "copy.db") as copy, sqlite3.connect(folder / "study.db") as own:
        own.backup(copy)
    host.do(copy_of, tmp_path / "copy.db", folder)
    with pytest.raises(WorkerError, match="sees another storage"):
        run(tuner_in(folder, n_trials=3), executor=host)
    assert states(tuner)[:1] == ["COMPLETE"]
    assert "COMPLETE" not in states(tuner)[1:]
