"""What the tests share: tiny data, tiny models, and pruners that decide by rule."""

from __future__ import annotations

import csv
import gc
import io
import os
import subprocess

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import optuna
import pytest

from kerastune_optuna import OptunaTuner
from kerastune_optuna._storage import database
from kerastune_optuna._storage.artifacts import open_store
from kerastune_optuna._workers import processes
from tests import warm
from tests.browser import chromium, launched

# Tests of what one backend alone does: .ci/run has them run with it.
collect_ignore = [f"test_{name}.py" for name in ("jax", "torch") if keras.backend.backend() != name]


def pytest_collection_finish():
    """Keep what was imported out of the collections of garbage, which each search begins with.

    TensorFlow makes 400,000 objects: to look at them takes longer than most tests. Workers start
    from a process that has imported it, where a test does not ask for `cold` ones.
    """
    gc.freeze()
    warm.let_workers_start_warm()


def kept(tuner, folder=None):
    """Return the names of the files in a tuner's store of weights but histories."""
    folder = folder or tuner._home.folder / "weights"
    storage = tuner.study._storage
    histories = {
        meta.artifact_id
        for trial in tuner.study.trials
        for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=storage)
        if meta.filename == "history.csv"
    }
    found = set(os.listdir(folder)) - histories if folder.exists() else set()
    return sorted(found)


def history(tuner, number):
    """Return the rows of a trial's history as its artifact holds them."""
    trial, storage = tuner.study.trials[number], tuner.study._storage
    metas = optuna.artifacts.get_all_artifact_meta(trial, storage=storage)
    (name,) = (meta.artifact_id for meta in metas if meta.filename == "history.csv")
    with open_store(tuner._home.store).open_reader(name) as file:
        return list(csv.DictReader(io.StringIO(file.read().decode())))


class PruneAt(optuna.pruners.BasePruner):
    """Prune the given trials at the given step, whatever they reported."""

    def __init__(self, numbers, step=0):
        self.numbers = set(numbers)
        self.step = step

    def prune(self, study, trial):
        """Decide by the trial's number and last step alone."""
        return trial.number in self.numbers and trial.last_step >= self.step


class Spy(keras.callbacks.Callback):
    """Write what happened into a list that all copies share."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __deepcopy__(self, memo):
        return Spy(self.seen)

    def on_train_begin(self, logs=None):
        """Note the beginning."""
        self.seen.append("begin")

    def on_epoch_end(self, epoch, logs=None):
        """Note the epoch."""
        self.seen.append(epoch)

    def on_train_end(self, logs=None):
        """Note the end."""
        self.seen.append("end")


def build_model(trial):
    """Return the smallest classifier that has something to tune."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(trial.suggest_int("units", 2, 8), activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(trial.suggest_float("lr", 1e-3, 1e-1, log=True)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


@pytest.fixture
def data():
    """Give 48 rows of four numbers in three classes to train on, and 24 to validate with."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 72)
    x = (rng.normal(size=(72, 4)) + np.eye(3, 4)[y] * 2).astype("float32")
    return x[:48], y[:48], (x[48:], y[48:])


@pytest.fixture
def make_tuner(tmp_path):
    """Give a maker of tuners that keep their study in the test's folder and never prune."""

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

    def run(build=build_model, objective="val_accuracy", *, tuner=None, fit=None, **options):
        tuner = tuner or make_tuner(build, objective, **options)
        x, y, validation = data
        arguments = {"x": x, "y": y, "validation_data": validation, "epochs": 2, "verbose": 0}
        return tuner.search(**{**arguments, **(fit or {})})

    return run


@pytest.fixture
def comes_again(data):
    """Give a function that refits a trial, and tells whether each number on record came again.

    It takes the data of `search` where no other is given.
    """

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
    if chromium() is None:
        # pip cannot install one, and not every contributor has it; .ci/run gets it where it can.
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    with launched() as given:
        yield given


@pytest.fixture
def impatient(monkeypatch):
    """Let searches of this process wait for a database for one second alone."""
    monkeypatch.setattr(database, "PATIENCE", 1.0)


@pytest.fixture
def cold(monkeypatch):
    """Let the workers of a test import everything, as those of users do."""
    monkeypatch.setattr(processes, "subprocess", subprocess)
