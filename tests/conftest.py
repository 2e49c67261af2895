"""What pytest does for all tests, and the fixtures that they share.

What takes seconds to import is imported where it is used: xdist's controller, which runs no test,
reads this file too, and the processes that run tests start after that.
"""

import functools
import gc
import os
import sys
import time

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Seconds of its process that a test takes at most where it has no mark. There are more where it is
# not the tests' time that is looked at: with old versions, other backends, and the stand-in for
# Windows.
_FAST = float(os.environ.get("KERASTUNE_FAST", "4" if sys.platform == "win32" else "2"))
# Tests of what one backend alone does: .ci/run has them run with it.
collect_ignore = [
    f"test_{name}.py" for name in ("jax", "torch") if os.environ.get("KERAS_BACKEND") != name
]
collect_ignore.append("support/windows")  # whose import would change this process
collect_ignore.append("pictures/search.py")  # a script, which searches when it is imported
if sys.platform == "win32":
    collect_ignore += ["pictures", "support/test_forks.py"]  # of what is not there


def pytest_configure(config):
    """Let the fixture for the examples in docstrings serve the package too, not only tests/."""
    from tests.support import docstrings

    config.pluginmanager.register(docstrings)


def pytest_xdist_auto_num_workers():
    """Start two processes more than cores: tests wait, and a busy machine shares by processes."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist reads it
    return (os.cpu_count() or 1) + 2


def pytest_collection_finish(session):
    """Keep TensorFlow's 400,000 objects out of collections of garbage, and let workers fork."""
    if session.items:
        from tests.support import forks

        gc.freeze()
        forks.let_workers_fork()
        _read_migrations_once()


def _read_migrations_once():
    """Let alembic run Optuna's thirty migrations once: they take most of what a database takes."""
    from alembic.util import pyfiles

    pyfiles.load_module_py = functools.lru_cache(pyfiles.load_module_py)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail a test of the fast ones that takes longer than they may."""
    began, had_torch = time.process_time(), "torch" in sys.modules
    result = yield
    if "torch" in sys.modules and not had_torch:
        return result  # whoever imports PyTorch first takes seconds for it
    took = time.process_time() - began
    if took > _FAST and not {"slow", "nightly"} & {mark.name for mark in item.iter_markers()}:
        pytest.fail(
            f"The test took {took:.1f} seconds of its process's time, and a fast one may take "
            f"{_FAST:g}. Make it faster, or mark it with @pytest.mark.slow."
        )
    return result


@pytest.fixture
def data():
    """Give 48 rows of four numbers in three classes to train on, and 24 to validate with."""
    from tests.support.models import in_classes

    x, y = in_classes()
    return x[:48], y[:48], (x[48:], y[48:])


@pytest.fixture
def make_tuner(tmp_path):
    """Give a maker of tuners that keep their study in the test's folder and never prune."""
    import optuna

    from tests.support.models import build_model
    from tests.support.untrained import tuner_in

    def make(build=build_model, objective="val_accuracy", **options):
        options = {"n_trials": 2, "pruner": optuna.pruners.NopPruner(), **options}
        return tuner_in(tmp_path / "tuning", build, objective, **options)

    return make


@pytest.fixture
def quick(tmp_path):
    """Give a maker of tuners whose trainings are made up, and whose one study is in memory."""
    from tests.support.untrained import build, cheap, tuner_in

    in_memory = cheap()

    def make(build_model=build, objective="val_mae", **options):
        return tuner_in(tmp_path, build_model, objective, **{**in_memory, **options})

    return make


@pytest.fixture
def search(make_tuner, data):
    """Give a function that makes a tuner and searches quietly for two epochs a trial."""

    def run(*tuned, tuner=None, fit=None, **options):
        tuner = tuner or make_tuner(*tuned, **options)
        x, y, validation = data
        arguments = {"x": x, "y": y, "validation_data": validation, "epochs": 2, "verbose": 0}
        return tuner.search(**{**arguments, **(fit or {})})

    return run


@pytest.fixture
def comes_again(data):
    """Give a function that refits a trial, and tells whether each number on record came again."""
    from tests.support.models import history

    def again(tuner, trial=0, **fit):
        x, y, validation = data
        rows = history(tuner, trial)
        given = {"x": x, "y": y, "validation_data": validation, "epochs": len(rows), **fit}
        _, trained = tuner.refit(trial=trial, verbose=0, **given)
        recorded = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "epoch"}
        return trained.history == recorded

    return again


@pytest.fixture(scope="module")
def browser():
    from tests.support.browser import chromium, launched

    if chromium() is None:
        # pip cannot install one, and not every contributor has it; .ci/run gets it where it can.
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    with launched() as given:
        yield given


@pytest.fixture
def impatient(monkeypatch):
    """Let searches of this process wait for a database for one second alone."""
    from kerastune_optuna._storage import database

    monkeypatch.setattr(database, "PATIENCE", 1.0)


# Where the package has the seconds that workers wait: for heartbeats, for trials of other
# machines, and for who is to lay out the next slot.
_PACES = {
    "beat": "_study.liveness._BEAT_SECONDS",
    "look": "_study.liveness._LOOK_SECONDS",
    "lease": "_study.liveness._LEASE_SECONDS",
    "silence": "_study.liveness._SILENCE_SECONDS",
    "poll": "_search.budget._POLL_OTHERS",
    "wait": "_search.budget._POLL",
    "patience": "_search.budget._PATIENCE",
}


@pytest.fixture
def pace(monkeypatch):
    """Give a function that sets for how many seconds workers of this process wait for others."""

    def set_to(**seconds):
        for name, given in seconds.items():
            monkeypatch.setattr(f"kerastune_optuna.{_PACES[name]}", given)

    return set_to


@pytest.fixture
def unhurried(monkeypatch):
    """Let a search of this process take long to end after a signal, as on a busy machine."""
    from kerastune_optuna import _signals

    monkeypatch.setattr(_signals, "_GRACE", 300)
