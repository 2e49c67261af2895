"""Tiny models, pruners and callbacks that tests share, and what a tuner has kept."""

import csv
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import optuna
from optuna.artifacts.exceptions import ArtifactNotFound


def kept(tuner, folder=None):
    """Return the names of the files in a tuner's store of weights but histories."""
    folder = folder or tuner._home.folder / "weights"
    histories = {name for trial in tuner.study.trials for name in _histories(tuner, trial)}
    return sorted(set(os.listdir(folder)) - histories) if folder.exists() else []


def _histories(tuner, trial):
    metas = optuna.artifacts.get_all_artifact_meta(trial, storage=tuner.study._storage)
    return [meta.artifact_id for meta in metas if meta.filename == "history.csv"]


def history(tuner, number):
    """Return the rows of a trial's history as its artifact holds them."""
    (name,) = _histories(tuner, tuner.study.trials[number])
    with TemporaryDirectory() as folder:
        file = Path(folder, "history.csv")
        if not tuner._home.store.fetch(name, file):
            raise ArtifactNotFound(name)
        with open(file, newline="", encoding="utf-8") as rows:
            return list(csv.DictReader(rows))


class PruneAt(optuna.pruners.BasePruner):
    """Prune the given trials at the given step, whatever they reported."""

    def __init__(self, numbers, step=0):
        self.numbers, self.step = set(numbers), step

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


def in_classes(rows=72):
    """Return rows of four numbers, and the one of three classes in which each is."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows)
    return (rng.normal(size=(rows, 4)) + np.eye(3, 4)[y] * 2).astype("float32"), y


def build_model(trial):
    """Return the smallest classifier that has something to tune."""
    hidden = keras.layers.Dense(trial.suggest_int("units", 2, 8), activation="relu")
    layers = [keras.Input((4,)), hidden, keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential(layers)
    optimizer = keras.optimizers.Adam(trial.suggest_float("lr", 1e-3, 1e-1, log=True))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def build_eager(trial):
    """Return that classifier without a graph, which would take longer to trace than to train."""
    model = build_model(trial)
    model.run_eagerly = keras.backend.backend() == "tensorflow"
    return model
