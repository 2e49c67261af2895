"""Worker processes: what they take with them, how they end, and who replaces one that died."""

import atexit
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import optuna
import psutil
import pytest

from kerastune_optuna import ArgumentError, TooManyFailuresError, WorkerError
from kerastune_optuna._workers import processes
from kerastune_optuna._workers.processes import _raised
from tests.support import forks
from tests.support.faults import (
    ROOT,
    builder_to_kill,
    failed,
    finished,
    killing_once,
    trials_of,
    wait_until,
)
from tests.support.hosts import needs_posix
from tests.support.models import build_model, in_classes, kept
from tests.support.untrained import build, run, tuner_in


@pytest.mark.slow
def test_a_killed_worker_is_replaced(search, tmp_path, capfd):
    """One of three workers is killed in mid-trial: the others go on, and nine trials finish."""
    fit = {"n_workers": 3, "epochs": 1, "verbose": 2}
    with killing_once(tmp_path):
        tuner = search(builder_to_kill(tmp_path, 5, n_workers=3), n_trials=9, fit=fit)
    assert len(finished(tuner)) == 9
    (died,) = failed(tuner)
    assert died.number == 5
    assert died.user_attrs["stop_reason"] == "its worker died"
    assert tuner.results()["worker"].nunique() == 4
    _, err = capfd.readouterr()
    assert err.count("died by SIGKILL; another takes its place") == 1


@pytest.mark.slow
def test_workers_that_all_die_end_the_search(search):
    """A builder that kills its process ends the search instead of starting workers for ever."""

    def build(trial):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerError, match="3 workers died one after another, the last one by SI"):
        search(build, max_failed_trials=3, fit={"n_workers": 2})


@pytest.mark.slow
@pytest.mark.parametrize("leave", [sys.exit, lambda: os._exit(0)], ids=["sys.exit", "os._exit"])
def test_a_worker_that_ends_in_a_trial_has_died(tmp_path, capfd, leave):
    """Code 0 does not say that a worker is done: another takes its place, and no trial is lost."""

    def leaving(trial):
        if len(list(tmp_path.glob("*.left"))) < 2:
            (tmp_path / f"{os.getpid()}.left").touch()
            leave()
        return build(trial)

    tuner = run(tuner_in(tmp_path, leaving, n_trials=4), n_workers=2)
    assert len(finished(tuner)) == 4
    assert "died with exit code 0; another takes its place" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_a_thread_of_the_user_does_not_keep_a_search_waiting(tmp_path, fails):
    """A worker that is done ends after a while, though a thread of its builder would never end."""

    def threading_on(trial):
        processes._LINGER = 0.5  # in the worker, where this runs
        threading.Thread(target=threading.Event().wait).start()
        if fails:
            raise NameError("nothing is named so")
        return build(trial)

    with pytest.raises(NameError) if fails else nullcontext():
        run(tuner_in(tmp_path, threading_on, n_trials=2), n_workers=2)


@pytest.mark.slow
def test_what_a_worker_raises_reaches_the_user(search, capfd):
    """The error of a worker is raised here, once, with its traceback as a note."""

    def build(trial):
        return undefined_name  # noqa: F821 - the error that is tested

    with pytest.raises(NameError, match="undefined_name") as got:
        search(build, fit={"n_workers": 2})
    assert "Raised in a worker" in got.value.__notes__[0]
    line = build.__code__.co_firstlineno + 1
    assert f'File "{__file__}", line {line}, in build' in got.value.__notes__[0]
    assert "return undefined_name" in got.value.__notes__[0]
    assert "Traceback" not in capfd.readouterr().err


class UnpicklableError(Exception):
    """Be an error that pickles and cannot be unpickled."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class FatalError(UnpicklableError, TypeError):
    """Be one that ends a search at once."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (UnpicklableError, TooManyFailuresError, "with the same error before any succeeded"),
        (FatalError, WorkerError, "FatalError: this and that"),
    ],
)
def test_an_error_that_cannot_travel_is_told(tmp_path, error, kind, told):
    """An error that does not survive pickling arrives as text."""

    def build(trial):
        raise error("this", "that")

    with pytest.raises(kind, match=told):
        run(tuner_in(tmp_path, build), n_workers=2)


@pytest.mark.parametrize("sent", [b"", b"\x80\x05"], ids=["nothing", "a-part"])
def test_an_error_that_cannot_be_read_is_told(sent):
    """Where this process cannot make the error of a worker, the search ends with one of ours."""
    raised = _raised(sent, "what it said", 4711)
    assert isinstance(raised, WorkerError)
    assert "(process 4711) raised what cannot be sent:\nwhat it said" in str(raised)


@contextmanager
def policy(name):
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def noting(folder):
    """Return a builder that notes what its process is like, and lets workers leave traces."""
    leader = os.getpid()

    def build(trial):
        model = build_model(trial)
        trial.set_user_attr("policy", model.layers[0].dtype_policy.name)
        if os.getpid() != leader:
            atexit.register((folder / f"left {os.getpid()}").touch)
        return model

    return build


def locked_store(folder):
    store = optuna.artifacts.FileSystemArtifactStore(folder)
    store.lock = threading.Lock()
    return store


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """Give a search by two workers, to which arrays, a policy, a database and a store travel."""
    folder = tmp_path_factory.mktemp("by_two")
    (store := folder / "store").mkdir()
    x, y = in_classes()
    tiled, validation = np.tile(x[:48], (100, 1)), (x[48:], y[48:])
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/own.db")
    options = {"storage": storage, "artifact_store": lambda: locked_store(store)}
    options |= {"n_trials": 6, "pruner": "none", "keep_best": 1}
    tuner = tuner_in(folder / "tuning", noting(folder), "val_accuracy", **options)
    fit = {"validation_data": validation, "epochs": 1, "verbose": 0, "n_workers": 2}
    with policy("mixed_bfloat16"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "subprocess", subprocess)  # these workers start as those of users
        tuner.search(tiled, np.tile(y[:48], 100), **fit)
    given = {"validation": validation, "storage": storage, "store": store, "folder": folder}
    return SimpleNamespace(tuner=tuner, **given)


@pytest.mark.slow
def test_workers_call_what_the_user_registered_with_atexit(by_two):
    """Each does, and then is gone."""
    pids = {trial.user_attrs["worker"].split(":")[1] for trial in by_two.tuner.study.trials}
    assert {path.name for path in by_two.folder.glob("left *")} == {f"left {pid}" for pid in pids}


@pytest.mark.slow
def test_arrays_travel_to_workers(by_two):
    """Arrays serve two workers, are described in the card, and leave no file behind."""
    assert len(finished(by_two.tuner)) == 6
    assert not list(Path(by_two.tuner.directory, "test").glob("**/*.npy"))
    # Which the worker wrote that opened the data.
    attrs = by_two.tuner.study.user_attrs
    cards = [one for name, one in attrs.items() if name.startswith("card:")]
    assert {card["data"]["x"] for card in cards} == {"float32(4800, 4)"}


@pytest.mark.slow
def test_a_database_object_is_made_safe(by_two):
    """SQLite opened by the user serves several workers as ours does."""
    with by_two.storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.slow
def test_the_settings_of_keras_travel(by_two):
    """A dtype policy set by the user holds in workers too, and the best model has their value."""
    tuner = by_two.tuner
    with policy("mixed_bfloat16"):
        logs = tuner.best_model().evaluate(*by_two.validation, verbose=0, return_dict=True)
    assert {trial.user_attrs["policy"] for trial in trials_of(tuner)} == {"mixed_bfloat16"}
    assert logs["accuracy"] == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_a_function_opens_the_artifact_store_in_each_worker(search, by_two, tmp_path):
    """A store that cannot be pickled is opened where it is used, and has the best weights."""
    with pytest.raises(ArgumentError, match="artifact_store cannot travel"):
        search(artifact_store=locked_store(tmp_path), fit={"n_workers": 2})
    assert len(kept(by_two.tuner, by_two.store)) == 1


def printed(*command, cwd, **variables):
    command = [sys.executable, *command]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


BESIDE_MODULES = """
import sys
import numpy
from helper import build
from kerastune_optuna import OptunaTuner
sys.path.insert(0, "")  # as notebooks do
tuner = OptunaTuner(build, "loss", n_trials=1, directory=sys.argv[1])
tuner.search(numpy.zeros((8, 4)), numpy.zeros(8), epochs=1, n_workers=2, verbose=0)
print(len(tuner.study.trials), "trial")
"""
BUILDER = """
from tests.support.models import build_model
def build(trial):
    return build_model(trial)
"""


@pytest.mark.nightly
def test_modules_of_the_current_folder_kill_no_worker(tmp_path):
    """Files named like Python's own modules stay aside; those beside the script are there."""
    (scripts := tmp_path / "scripts").mkdir()
    (scripts / "script.py").write_text(BESIDE_MODULES)
    (scripts / "helper.py").write_text(BUILDER)
    for name in ("signal", "contextlib", "types", "queue", "random"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imported {name}.py')")
    assert printed(scripts / "script.py", tmp_path / "tuning", cwd=tmp_path) == ["1 trial"]


OF_A_NOTEBOOK = """
import inspect, sys
import numpy
from kerastune_optuna import OptunaTuner
from tests.support.models import build_model
lines = 30 * [""] + ["def augment(x):", "    return x"]
exec(compile("\\n".join(lines), "/tmp/ipykernel_1/2.py", "exec"))
def build(trial):
    try:
        trial.set_user_attr("source", inspect.getsource(augment))
    except OSError:
        trial.set_user_attr("source", "none")
    return build_model(trial)
tuner = OptunaTuner(build, "loss", n_trials=1, directory=sys.argv[1])
tuner.search(numpy.zeros((8, 4)), numpy.zeros(8), epochs=1, n_workers=2, verbose=0)
print(tuner.study.trials[0].user_attrs["source"])
"""


@pytest.mark.nightly
def test_a_worker_takes_no_other_file_for_the_source_of_a_notebook(tmp_path):
    """AutoGraph, which asks for the source of a function, then runs the function as it is."""
    assert printed("-c", OF_A_NOTEBOOK, tmp_path, cwd=tmp_path) == ["none"]


UNGUARDED = """
import sys
import numpy
from kerastune_optuna import OptunaTuner
from .models import build
x, y = numpy.zeros((8, 4)), numpy.zeros(8)
tuner = OptunaTuner(lambda trial: build(trial), n_trials=2, directory=sys.argv[1])
tuner.search(x, y, validation_data=(x, y), epochs=1, n_workers=2)
print(len(tuner.study.trials), "in all")
"""


@pytest.mark.slow
def test_a_module_without_a_guard_works(tmp_path):
    """Workers do not run `python -m package.search` again, and its relative imports hold there."""
    (package := tmp_path / "package").mkdir()
    (package / "search.py").write_text(UNGUARDED)
    (package / "models.py").write_text(BUILDER)
    lines = printed("-m", "package.search", tmp_path / "tuning", cwd=tmp_path)
    assert lines[-1] == "2 in all"
    assert len([line for line in lines if "in all" in line]) == 1


ENDLESS = """
import os
import sys
import time
from pathlib import Path
from tests.support.faults import meet
from tests.support.untrained import build, run, tuner_in
folder = Path(sys.argv[1])
def met(trial):
    meet(folder, 2)
    return build(trial)
def fork(study, trial):
    if len(sys.argv) > 2 and not (folder / "forked").exists():
        if (pid := os.fork()) == 0:
            time.sleep(600)
        (folder / "forked").write_text(str(pid))
tuner = tuner_in(folder / "tuning", met, n_trials=None)
run(tuner, n_workers=2, on_trial_end=fork)
"""


def test_a_ctrl_c_while_workers_are_killed_spares_none(monkeypatch):
    """Each of them is gone, and our end of its connection is closed."""
    workers = [processes._Worker(b"", {}) for _ in range(2)]
    kill = processes._Worker.kill

    def interrupted(worker):
        kill(worker)
        raise KeyboardInterrupt

    monkeypatch.setattr(processes._Worker, "kill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        processes._stop(workers)
    assert all(worker.has_ended() and worker._connection.closed for worker in workers)


@pytest.mark.slow
@pytest.mark.parametrize("forks_too", [False, pytest.param(True, marks=needs_posix)])
def test_workers_end_with_their_parent(tmp_path, forks_too):
    """A parent that is killed leaves no worker, though what it forked has their pipes open."""
    command = [sys.executable, "-c", ENDLESS, str(tmp_path), *["forks"] * forks_too]
    # A stand-in for a process, as forks.start() gives, is not the parent of its workers.
    start, env = (
        (subprocess.Popen if forks_too else forks.start),
        {**os.environ, "PYTHONPATH": str(ROOT)},
    )
    parent = start(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=env)
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    if forks_too:
        wait_until(lambda: (tmp_path / "forked").exists() and (tmp_path / "forked").read_text())
    workers = [psutil.Process(int(file.stem)) for file in tmp_path.glob("*.pid")]
    assert parent.pid not in [worker.pid for worker in workers]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    forked = [psutil.Process(int((tmp_path / "forked").read_text()))] if forks_too else []
    for process in (*forked, *alive):
        process.kill()
    assert alive == []
