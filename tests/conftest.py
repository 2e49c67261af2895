"""What pytest does for all tests, and the fixtures that they share.

What takes seconds to import is imported where it is used: xdist's controller, which runs no test,
reads this file too, and the processes that run tests start after that.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Seconds of its process that a test takes at most where it has no mark.
_FAST = 4 if sys.platform == "win32" else 2  # where the stand-in for Windows takes time, too
# Tests of what one backend alone does: .ci/run has them run with it.
collect_ignore = [
    f"test_{name}.py" for name in ("jax", "torch") if os.environ.get("KERAS_BACKEND") != name
]
collect_ignore.append("support/windows")  # whose import would change this process
if sys.platform == "win32":
    collect_ignore += ["support/test_forks.py", "test_warm.py"]  # of what is not there


def pytest_collection_finish(session):
    """Keep what was imported out of the collections of garbage, which each search begins with.

    TensorFlow makes 400,000 objects: to look at them takes longer than most tests. Workers start
    from a process that has imported it, where a test does not ask for `cold` ones.
    """
    if session.items:
        from tests.support import warm

        gc.freeze()
        warm.let_workers_start_warm()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail a test of the fast ones that takes longer than they may."""
    began = time.process_time()
    result = yield
    took = time.process_time() - began
    if took > _FAST and not {"slow", "nightly"} & {mark.name for mark in item.iter_markers()}:
        pytest.fail(
            f"The test took {took:.1f} seconds of its process's time, and a fast one may take "
            f"{_FAST}. Make it faster, or mark it with @pytest.mark.slow."
        )
    return result


@pytest.fixture
def data():
    """Give 48 rows of four numbers in three classes to train on, and 24 to validate with."""
    import numpy as np

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 72)
    x = (rng.normal(size=(72, 4)) + np.eye(3, 4)[y] * 2).astype("float32")
    return x[:48], y[:48], (x[48:], y[48:])


@pytest.fixture
def make_tuner(tmp_path):
    """Give a maker of tuners that keep their study in the test's folder and never prune."""
    import optuna

    from kerastune_optuna import OptunaTuner
    from tests.support.models import build_model

    def make(build=build_model, objective="val_accuracy", **options):
        options = {
            "n_trials": 2,
            "seed": 0,
            "directory": tmp_path / "tuning",
            "study_name": "test",
            "pruner": optuna.pruners.NopPruner(),
            **options,
        }
        return OptunaTuner(build, objective, **options)

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
    """Give a function that refits a trial, and tells whether each number on record came again.

    It takes the data of `search` where no other is given.
    """
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
    """Give a Chromium."""
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


@pytest.fixture
def cold(monkeypatch):
    """Let the workers of a test import everything, as those of users do."""
    from kerastune_optuna._workers import processes

    monkeypatch.setattr(processes, "subprocess", subprocess)
