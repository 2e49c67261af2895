"""overwrite=True: never under a process that searches, once for all copies, with new ids."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext

import optuna
import psutil
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from kerastune_optuna import NoTrialsError, StudyMismatchError
from kerastune_optuna._storage.patience import WORKER
from kerastune_optuna._study import heartbeat, record
from kerastune_optuna._study.opening import open_study
from kerastune_optuna._study.record import BEAT, SLOT
from kerastune_optuna._trial import overwrite
from kerastune_optuna._trial.deletion import delete_study
from tests.support import forks
from tests.support.faults import ROOT
from tests.support.servers import database
from tests.support.untrained import Untrained, run, tuner_in

ELSEWHERE = "node3-0123456789ab:4711:5"  # the signature of a process that cannot be seen from here


def build(trial):
    """Return a model whose value is its parameter."""
    return Untrained(2, [{"val_mae": trial.suggest_int("level", 0, 1000)}])


def tuner(folder, **options):
    """Return a tuner of one objective."""
    return tuner_in(folder, build, "val_mae", **{"n_trials": 1, **options})


# Copies of a script are children of one process, which spares them the imports.
COPIES = """
import os, signal, sys, time
from kerastune_optuna import OptunaTuner
from kerastune_optuna._study.liveness import sign

def build(trial):
    trial.suggest_int("level", 0, 1000)

def tell(words):
    # In one write, so that no other copy's words come between; print() may make several.
    os.write(1, f"{os.getpid()} {words}\\n".encode())

def be_a_copy(level, url, folder):
    os.read(start, 1)  # ends with the parent's end of the pipe
    tuner = OptunaTuner(
        build, "val_mae", storage=url, directory=folder, study_name="test", overwrite=True
    )
    try:
        tuner.enqueue({"level": level})
        mine = tuner.study.ask()
        sign(tuner.study, mine._trial_id)
        tell(f"has {mine.number}")
    except Exception as error:
        tell(repr(error))
    time.sleep(600)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the dead are gone
print("ready", flush=True)
for line in sys.stdin:
    n, url, folder = line.split()
    # A copy that began after another made the study would be a later run of the script.
    start, started = os.pipe()
    for level in range(int(n)):
        if os.fork() == 0:
            os.close(started)
            be_a_copy(level, url, folder)
    os.close(started)
    os.close(start)
"""


class Copies:
    """Run copies of a script that takes part in a study with overwrite=True."""

    def __init__(self):
        self.process = forks.start(
            [sys.executable, "-c", COPIES],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running = []
        assert self.process.stdout.readline() == "ready\n"

    def start(self, n, url, folder):
        """Start so many at once, and return what each says once it runs a trial, or cannot."""
        self.process.stdin.write(f"{n} {url} {folder}\n")
        self.process.stdin.flush()
        told = [self.process.stdout.readline() for _ in range(n)]
        self.running += [int(line.split()[0]) for line in told]
        return told

    def kill(self):
        """Kill all that run, and wait until they are gone."""
        for pid in self.running:
            process = psutil.Process(pid)
            process.kill()
            process.wait()
        self.running.clear()


@pytest.fixture(scope="module")
def script():
    """Give a script of which copies can be started."""
    made = Copies()
    yield made
    made.kill()
    made.process.communicate()


@pytest.fixture
def copies(script):
    """Give the same to one test, after which no copy runs."""
    yield script
    script.kill()


@pytest.mark.slow
@pytest.mark.parametrize("server", ["sqlite", "postgresql", "mariadb"])
def test_copies_that_start_at_once_make_one_study(tmp_path, copies, server):
    """Each of them finds the same new study, in which it has a trial, and the old one is gone."""
    sqlite = nullcontext(f"sqlite:///{tmp_path}/study.db")
    with sqlite if server == "sqlite" else database(server) as url:
        old = run(tuner(tmp_path, storage=url)).study
        told = copies.start(8, url, tmp_path)
        assert [line.split()[1] for line in told] == ["has"] * 8
        assert len({line.split()[2] for line in told}) == 8
        assert optuna.get_all_study_names(old._storage) == ["test"]
        study = optuna.load_study(study_name="test", storage=old._storage)
        assert study._study_id != old._study_id
        # Optuna's ask() makes one of its own where others were faster to take all that waited.
        fixed = [trial.system_attrs.get("fixed_params") for trial in study.trials]
        assert sorted(one["level"] for one in fixed if one is not None) == list(range(8))
        copies.kill()
        old._storage.remove_session()


def test_a_study_is_overwritten_once_nobody_runs_it(tmp_path, copies):
    """A process that runs a trial is named, to a later copy of its script too, while it lives."""
    url = f"sqlite:///{tmp_path}/study.db"
    ((pid, *_),) = (line.split() for line in copies.start(1, url, tmp_path))
    (later,) = copies.start(1, url, tmp_path)
    assert f"trial 0 of study 'test' (process {pid} on this machine) is running" in later
    with pytest.raises(StudyMismatchError, match=rf"\(process {pid} on this machine\)"):
        run(tuner(tmp_path, storage=url, overwrite=True))
    copies.kill()
    study = run(tuner(tmp_path, storage=url, overwrite=True)).study
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"]


@pytest.fixture
def of_another_machine(tmp_path, monkeypatch):
    """Give a study of which a process of another machine runs a trial, and a tuner for it."""
    monkeypatch.setattr(overwrite, "_POLL", 0.05)
    of_it = tuner(tmp_path, overwrite=True)
    study = tuner(tmp_path).study
    trial = optuna.trial.create_trial(
        state=TrialState.RUNNING, system_attrs={SLOT: "node3"}, user_attrs={WORKER: ELSEWHERE}
    )
    study.add_trial(trial)
    return study, of_it


@contextmanager
def beating(study):
    """Beat for the first trial of a study, as the process does that runs it."""
    over = threading.Event()

    def beat():
        for beats in itertools.count():
            study._storage.set_trial_system_attr(study.trials[0]._trial_id, BEAT, beats)
            if over.wait(0.02):
                return

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_process_of_another_machine_is_named_once_it_beats(of_another_machine):
    """A process that cannot be seen from here is waited for, and refused once it lives."""
    study, of_it = of_another_machine
    with beating(study), pytest.raises(StudyMismatchError, match=r"\(process 4711 on node3\)"):
        of_it.enqueue({"level": 1})
    assert len(study.trials) == 1


def test_a_dead_process_of_another_machine_is_no_hindrance(of_another_machine, monkeypatch, capsys):
    """One that does not beat for as long as a lease lasts is dead, and its study is deleted."""
    _, of_it = of_another_machine
    monkeypatch.setattr(heartbeat, "_LEASE_SECONDS", 0.2)
    of_it.enqueue({"level": 1})
    assert [trial.state.name for trial in of_it.study.trials] == ["WAITING"]
    waited = "Waiting for a sign of trial 0 of study 'test' (process 4711 on node3)\n"
    assert capsys.readouterr().err.count(waited) == 1


def test_one_step_of_slurm_shares_a_study_over_machines(of_another_machine, monkeypatch):
    """What a launcher started at once on two machines takes part in the study that one made."""
    study, of_it = of_another_machine
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # which another test imported
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "1")
    overwrite.mark(study)
    made = {**overwrite._made(study), "by": ELSEWHERE, "machine": "node3-0123456789ab"}
    study._storage.set_study_system_attr(study._study_id, record.MADE, made)
    of_it.enqueue({"level": 1})
    assert len(study.trials) == 2


def test_a_copy_may_fill_the_new_study_while_another_looks_at_it(tmp_path, monkeypatch):
    """A study without a mark that has both, mark and trial, at the next look is still shared."""
    study, looked = tuner(tmp_path).study, []
    monkeypatch.setattr(overwrite, "_is_of_a_copy", lambda made: True)

    def made_by_another(asked):
        known = _made(asked)
        if not looked:
            looked.append(known)
            overwrite.mark(study)
            running = optuna.trial.create_trial(
                state=TrialState.RUNNING, user_attrs={WORKER: ELSEWHERE}
            )
            study.add_trial(running)
        return known

    _made = overwrite._made
    monkeypatch.setattr(overwrite, "_made", made_by_another)
    tuner(tmp_path, overwrite=True).enqueue({"level": 1})
    assert looked == [None]
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "WAITING"]


def test_a_process_overwrites_what_it_made_itself(tmp_path):
    """A cell of a notebook that is run again begins anew each time."""
    run(tuner(tmp_path, overwrite=True, n_trials=3))
    assert len(run(tuner(tmp_path, overwrite=True)).study.trials) == 1


def test_trials_that_are_to_be_deleted_are_not_shown(tmp_path):
    """Until it searches, a tuner that overwrites has nothing to show, and deletes nothing."""
    run(tuner(tmp_path, n_trials=2))
    anew = tuner(tmp_path, overwrite=True)
    for read in (anew.results, anew.summary, anew.best_model, lambda: anew.best_value):
        with pytest.raises(NoTrialsError, match=r"^overwrite=True: search\(\) deletes what study"):
            read()
    assert "not open yet" in repr(anew)
    assert len(tuner(tmp_path).results()) == 2


def test_what_is_put_into_the_study_stays(tmp_path):
    """The study that a tuner hands out is the one that it searches, not the one that it deletes."""
    run(tuner(tmp_path, n_trials=2))
    anew = tuner(tmp_path, overwrite=True)
    anew.study.enqueue_trial({"level": 7})
    assert run(anew).best_params == {"level": 7}


def test_no_id_comes_back(tmp_path):
    """SQLite gives neither the new study nor its trials an id of the old ones."""
    old = run(tuner(tmp_path, n_trials=3)).study
    new = run(tuner(tmp_path, n_trials=3, overwrite=True)).study
    assert new._study_id > old._study_id
    assert min(one._trial_id for one in new.trials) > max(range(4))
    assert optuna.get_all_study_names(new._storage) == ["test"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize("by", ["overwrite", "Optuna"])
def test_who_loses_its_study_says_so_and_leaves_the_new_one_alone(tmp_path, kind, by):
    """A search whose study is replaced while it trains ends with a line, and writes nothing."""
    storage = f"sqlite:///{tmp_path}/study.db"
    if kind == "journal":
        storage = optuna.storages.JournalStorage(JournalFileBackend(f"{tmp_path}/journal"))
    new = []

    def replace(trial):
        if not new:
            if by == "overwrite":
                delete_study(trial.study, losing._home.store)
            else:
                optuna.delete_study(study_name="test", storage=trial.storage)
            new.append(open_study(trial.storage, "test", losing._home.objectives))
            new[0].add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
        return build(trial)

    losing = tuner_in(tmp_path, replace, "val_mae", n_trials=3, storage=storage)
    with pytest.raises(StudyMismatchError, match="'test' was deleted by another process"):
        run(losing)
    (waiting,) = new[0].trials
    assert waiting.state is TrialState.WAITING
    assert not waiting.user_attrs
    assert not waiting.intermediate_values
    assert losing.study._study_id == new[0]._study_id
