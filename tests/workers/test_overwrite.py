"""overwrite=True: never under a process that searches, and with new ids."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from kerastune_optuna import NoTrialsError, StudyMismatchError
from kerastune_optuna._study import liveness
from kerastune_optuna._study.home import Home
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._workers import overwrite
from kerastune_optuna._workers.overwrite import delete_study
from tests.support import forks
from tests.support.faults import ROOT
from tests.support.untrained import Untrained, run, tuner_in

ELSEWHERE = "node3-0123456789ab:4711:5"  # the signature of a process that cannot be seen from here


def build(trial):
    return Untrained(2, [{"val_mae": trial.suggest_int("level", 0, 1000)}])


def tuner(folder, **options):
    return tuner_in(folder, build, "val_mae", **{"n_trials": 1, **options})


RUNNING = """
import os, sys, time
from kerastune_optuna._study.liveness import own_runs
from tests.workers.test_overwrite import tuner

one = tuner(sys.argv[1], overwrite=True)
own_runs.sign(one.study, one.study.ask()._trial_id)
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_study_is_overwritten_once_nobody_runs_it(tmp_path):
    """A process that runs a trial is named while it lives, to a copy of its script too."""
    script = [sys.executable, "-c", RUNNING, str(tmp_path)]
    with forks.start(script, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        pid = process.stdout.readline().strip()
        named = rf"trial 0 of study 'test' \(in process {pid} on this machine\) is running"
        with pytest.raises(StudyMismatchError, match=named):
            run(tuner(tmp_path, overwrite=True))
        process.kill()
    study = run(tuner(tmp_path, overwrite=True)).study
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"]


@pytest.fixture
def of_another_machine(tmp_path, monkeypatch):
    """Give a study of which a process of another machine runs a trial, and a tuner for it."""
    monkeypatch.setattr(overwrite, "_POLL", 0.05)
    of_it = tuner(tmp_path, overwrite=True)
    study = tuner(tmp_path).study
    attrs = {
        "system_attrs": {TrialRecord.slot: "node3"},
        "user_attrs": {TrialRecord.worker: ELSEWHERE},
    }
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, **attrs)
    study.add_trial(trial)
    return study, of_it


def test_a_process_of_another_machine_is_named_once_it_beats(of_another_machine):
    """A process that cannot be seen from here is waited for, and refused once it lives."""
    study, of_it = of_another_machine
    over = threading.Event()

    def beat():
        for beats in range(1000):
            study._storage.set_trial_system_attr(study.trials[0]._trial_id, TrialRecord.beat, beats)
            if over.wait(0.02):
                return

    with ThreadPoolExecutor() as threads:
        threads.submit(beat)
        with pytest.raises(StudyMismatchError, match=r"\(in process 4711 on node3\)"):
            of_it.enqueue({"level": 1})
        over.set()
    assert len(study.trials) == 1


def test_a_dead_process_of_another_machine_is_no_hindrance(of_another_machine, monkeypatch, capsys):
    """One that does not beat for as long as a lease lasts is dead, and its study is deleted."""
    _, of_it = of_another_machine
    monkeypatch.setattr(liveness, "_LEASE_SECONDS", 0.2)
    of_it.enqueue({"level": 1})
    assert [trial.state.name for trial in of_it.study.trials] == ["WAITING"]
    waited = "Waiting for a sign of life from trial 0 of study 'test' (in process 4711 on node3)\n"
    assert capsys.readouterr().err.count(waited) == 1


def test_trials_that_are_to_be_deleted_are_not_shown(tmp_path):
    """Until it searches, a tuner that overwrites has nothing to show, and deletes nothing."""
    run(tuner(tmp_path, n_trials=2))
    anew = tuner(tmp_path, overwrite=True)
    for read in (anew.results, anew.summary, anew.best_model, lambda: anew.best_value):
        with pytest.raises(NoTrialsError, match=r"^overwrite=True: search\(\) will delete study"):
            read()
    assert "is not open yet" in anew._repr_html_()
    assert len(tuner(tmp_path).results()) == 2


def test_what_is_put_into_the_study_stays(tmp_path):
    """The study that a tuner hands out is the one that it searches, not the one that it deletes."""
    run(tuner(tmp_path, n_trials=2))
    anew = tuner(tmp_path, overwrite=True)
    anew.study.enqueue_trial({"level": 7})
    assert run(anew).best_params == {"level": 7}


def test_no_id_comes_back(tmp_path):
    """A process overwrites what it made itself, and SQLite gives all of it new ids."""
    old = run(tuner(tmp_path)).study
    ids = [one._trial_id for one in old.trials]
    new = run(tuner(tmp_path, n_trials=2, overwrite=True)).study
    assert new._study_id > old._study_id
    assert min(one._trial_id for one in new.trials) > max(ids)
    assert optuna.get_all_study_names(new._storage) == ["test"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize("by", ["overwrite", "Optuna"])
def test_who_loses_its_study_says_so_and_leaves_the_new_one_alone(tmp_path, kind, by):
    """A search whose study is replaced while it trains ends with a line, and writes nothing."""
    storage = JournalStorage(JournalFileBackend(f"{tmp_path}/journal"))
    storage = storage if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    new = []

    def replace(trial):
        if not new:
            if by == "overwrite":
                delete_study(trial.study, losing._home.store)
            else:
                optuna.delete_study(study_name="test", storage=trial.storage)
            home = Home("test", tmp_path, losing._home.objectives)
            home.storage = trial.storage
            new.append(home.study)
            new[0].add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
        return build(trial)

    losing = tuner_in(tmp_path, replace, "val_mae", n_trials=3, storage=storage)
    with pytest.raises(StudyMismatchError, match=r"deleted study 'test'.* optuna-dashboard"):
        run(losing)
    (waiting,) = new[0].trials
    assert waiting.state is TrialState.WAITING
    assert not waiting.user_attrs
    assert not waiting.intermediate_values
    assert losing.study._study_id == new[0]._study_id
