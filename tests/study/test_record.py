"""What version 0.1 wrote, later ones read. `python -m tests.study.test_record` made its files."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pytest

from kerastune_optuna import OptunaTuner, open_study

WRITTEN = Path(__file__).parent / "data" / "0.1"  # once 0.1 is released, never made anew
N_TRIALS, EPOCHS = 3, 2
X = np.linspace(-1, 1, 96).reshape(32, 3) ** 2
TRAIN, VALIDATION = (X[:24], X[:24].sum(axis=1)), (X[24:], X[24:].sum(axis=1))


def build_model(trial):
    model = keras.Sequential([keras.Input((3,))])
    model.add(keras.layers.Dense(trial.suggest_int("units", 2, 4), "relu"))
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(trial.suggest_float("rate", 1e-3, 0.1, log=True)), "mse")
    return model


def search(directory, n_trials):
    options = {"n_trials": n_trials, "seed": 0, "pruner": "none", "keep_best": 1}
    tuner = OptunaTuner(build_model, "val_loss", directory=directory, study_name="old", **options)
    return tuner.search(*TRAIN, validation_data=VALIDATION, epochs=EPOCHS, verbose=0)


def test_a_study_of_0_1_opens_and_goes_on(tmp_path):
    """Its best model evaluates to its best value, its history is there, and a trial is added."""
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    old = open_study(tmp_path)
    best = old.best_value
    assert old.best_model().evaluate(*VALIDATION, verbose=0) == pytest.approx(best, abs=1e-6)
    assert old.history()["val_loss"].min() == pytest.approx(best, abs=1e-6)
    continued = search(tmp_path, N_TRIALS + 1)
    assert list(continued.results()["state"]) == ["COMPLETE"] * (N_TRIALS + 1)
    assert continued.best_value <= best


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        search(folder, N_TRIALS)
        shutil.copytree(Path(folder, "old"), WRITTEN / "old")
        with closing(sqlite3.connect(Path(folder, "study.db"))) as database:
            database.execute("PRAGMA page_size = 1024")  # a third of the usual file
            database.execute(f"VACUUM INTO '{WRITTEN / 'study.db'}'")
