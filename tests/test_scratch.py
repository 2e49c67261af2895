"""What a search writes beside its results: nobody else reads it, and nothing of it is left."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext

import keras
import numpy as np
import pytest

from kerastune_optuna import StorageError
from kerastune_optuna._scratch import scratch, sweep
from tests.support import forks
from tests.support.faults import ROOT, small_disk, states
from tests.support.hosts import FORK, needs_posix
from tests.support.untrained import Untrained, run, tuner_in


def _left(folder):
    return list(folder.glob("**/kerastune_optuna_*"))


DATA = np.zeros((4, 9999))
KILLED = """
import os, sys, time
from pathlib import Path
from tests.test_scratch import DATA
from tests.support.untrained import run, tuner_in
folder = sys.argv[1]
os.umask(0)
def sleepy(trial):
    Path(folder, f"begun-{trial.number}").touch()
    time.sleep(600)
run(tuner_in(folder, sleepy, n_trials=2), x=DATA, n_workers=2)
"""


@pytest.mark.slow
def test_the_next_search_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    """Arrays for workers, which nobody else may read, and backups do not outlive their search."""
    study, temporary = tmp_path / "tuning", tmp_path / "tmp"
    temporary.mkdir()
    command, env = [sys.executable, "-c", KILLED, study], {**os.environ, "TMPDIR": str(temporary)}
    leader = forks.start(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, start_new_session=True)
    while len(list(study.glob("begun-*"))) < 2:
        assert leader.poll() is None, leader.stderr.read()
        time.sleep(0.05)
    os.killpg(leader.pid, signal.SIGKILL)
    leader.communicate()
    (array,) = study.glob("**/*.npy")
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (array.parent, array)]
    assert modes == [0o700, 0o600], "nobody else reads it, whatever the umask"
    folders = [one for one in temporary.iterdir() if one.is_dir()]
    assert len(folders) == 2, "one of each trial"
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.warns(UserWarning, match="The code of build_model has changed"):
        run(tuner_in(study, n_trials=2), x=DATA)
    assert list(study.glob("**/*.npy")) == list(temporary.iterdir()) == []
    assert _left(study) == []


@pytest.mark.parametrize("way", ["gone", pytest.param("inodes", marks=pytest.mark.slow)])
def test_a_temporary_folder_without_room_costs_no_trial(tmp_path, monkeypatch, way):
    """The search ends with one line that names it; what was enqueued is trained by the next one."""
    with (
        small_disk(tmp_path / "tmp", "9m,nr_inodes=9") if way == "inodes" else nullcontext() as disk
    ):
        monkeypatch.setattr(tempfile, "tempdir", str(disk or tmp_path / "gone"))
        for number in range(8 if disk else 0):
            (disk / f"{number}").touch()
        tuner = tuner_in(tmp_path / "tuning", objective="val_mae", n_trials=2, pruner="none")
        tuner.enqueue({"units": 7, "level": 0.5})
        why = "No such file" if way == "gone" else "No space left on device"
        told = rf"The temporary folder '{tempfile.tempdir}' cannot be used: {why}.*TMPDIR"
        for _ in range(4):  # more often than workers may die of a trial
            with pytest.raises(StorageError, match=told) as got:
                run(tuner)
        assert len(str(got.value).splitlines()) == 1
        monkeypatch.undo()
        ended = [trial for trial in run(tuner).study.trials if trial.state.name != "FAIL"]
        assert [trial.state.name for trial in ended] == ["COMPLETE"] * 2
        assert sum(trial.params == {"units": 7, "level": 0.5} for trial in ended) == 1


def test_no_temporary_folder_at_all_is_told(tmp_path, monkeypatch):
    """Python finds none that it may write to when it is first asked for one."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    told = r"The temporary folder cannot be used: No usable temporary directory found .*TMPDIR"
    with pytest.raises(StorageError, match=told):
        run(tuner_in(tmp_path / "tuning", objective="val_mae", n_trials=1))


def test_a_folder_of_the_study_without_room_is_told(tmp_path):
    """No TMPDIR helps there."""
    told = r"The temporary folder .*gone' cannot be used: No such file.* pass another directory="
    with pytest.raises(StorageError, match=told), scratch(tmp_path / "gone"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("backup_every", [None, 0], ids=["weights", "backup"])
def test_a_trial_that_finds_no_temporary_folder_in_the_end_runs_again(
    tmp_path, monkeypatch, backup_every
):
    """Neither its weights nor its backup can be written, and one line names the folder."""

    def lose(epoch, logs):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    losing = keras.callbacks.LambdaCallback(on_epoch_end=lose)
    options = {"n_trials": 1, "pruner": "none", "backup_every": backup_every}
    tuner = tuner_in(tmp_path / "tuning", objective="val_mae", **options)
    with pytest.raises(StorageError, match=r"^The temporary folder .* cannot be used"):
        run(tuner, callbacks=[losing])
    monkeypatch.undo()
    assert states(run(tuner)) == ["FAIL", "COMPLETE"]
    assert tuner.best_model() is not None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The reported value is ignored")  # the fit begins anew
def test_a_backup_is_not_taken_for_lost_where_it_has_no_room(tmp_path, monkeypatch, capfd):
    """A trial whose backup cannot be unpacked now goes on from it once there is room."""

    def build_model(trial):
        return Untrained(trial.suggest_int("units", 50_000, 50_000), [{"val_mae": 1.0}] * 5)

    def interrupt(epoch, logs):
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)

    tuner = tuner_in(tmp_path, build_model, "val_mae", n_trials=1, backup_every=0)
    with pytest.raises(KeyboardInterrupt):
        run(tuner, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=interrupt)])
    with small_disk(tmp_path / "tmp", "99k") as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        with pytest.raises(StorageError, match="cannot be used: No space left on device"):
            run(tuner)
    monkeypatch.undo()
    assert states(run(tuner)) == ["FAIL", "FAIL", "COMPLETE"]
    assert "starts over" not in capfd.readouterr().err


def _die_as_a_parent(folder, child):
    context = scratch(folder)
    context.__enter__()
    if os.fork() == 0:
        child.value = os.getpid()
        time.sleep(60)
        os._exit(0)
    while not child.value:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@needs_posix
def test_a_child_keeps_no_folder_of_a_killed_process(tmp_path):
    """A loader's process may outlive the one that forked it, and holds nothing in use."""
    child = FORK.Value("i", 0)
    owner = FORK.Process(target=_die_as_a_parent, args=(tmp_path, child))
    owner.start()
    owner.join()
    assert len(_left(tmp_path)) == 2, "the folder and its lock"
    sweep(tmp_path)
    os.kill(child.value, signal.SIGKILL)
    assert _left(tmp_path) == []


def _make_and_sweep(folder):
    for _ in range(200):
        with scratch(folder) as made:
            sweep(folder)
            (made / "file").touch()


@needs_posix
def test_processes_that_make_and_sweep_at_once_meet_no_error(tmp_path):
    """None takes the folder of another for one that was left, however new it is."""
    processes = [FORK.Process(target=_make_and_sweep, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert list(tmp_path.iterdir()) == []
