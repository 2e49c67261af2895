"""Tune a pipeline of scikit-learn together with the network that learns from what it gives.

Run it as `python examples/tuned_pipeline.py`. Each trial chooses how the columns are scaled and how
many of them are kept. The best pipeline and the best model are saved into one folder, from which
`load` makes one thing that predicts rows as they are.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import joblib
import keras
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PowerTransformer, RobustScaler, StandardScaler

from kerastune_optuna import OptunaTuner, choice

x, y = load_breast_cancer(return_X_y=True)
x_train, x_valid, y_train, y_valid = train_test_split(x, y, random_state=0, stratify=y)
SCALERS = {"standard": StandardScaler, "robust": RobustScaler, "power": PowerTransformer}


def fitted(trial) -> Pipeline:
    """Return the pipeline for the values that a trial suggests, fitted to the training rows."""
    scaler = choice(trial, "scaler", SCALERS)()
    n_columns = trial.suggest_int("n_columns", 4, 28, step=4)
    return make_pipeline(scaler, SelectKBest(f_classif, k=n_columns)).fit(x_train, y_train)


def train(trial) -> tuple:
    """Return the rows to train on, as the trial's pipeline gives them."""
    return fitted(trial).transform(x_train), y_train


def valid(trial) -> tuple:
    """Return the rows to validate with: the pipeline has not seen them before."""
    return fitted(trial).transform(x_valid), y_valid


def build_model(trial) -> keras.Model:
    """Return the compiled network for the values that a trial suggests."""
    units = trial.suggest_int("units", 4, 32)
    rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    model = keras.Sequential([keras.layers.Dense(units, "relu"), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


class Saved:
    """Predict rows as they are, by a pipeline and a network that were saved together."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = joblib.load(folder / "pipeline.joblib")
        self.model = keras.saving.load_model(folder / "model.keras")

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return 0 or 1 for each row."""
        chances = self.model.predict(self.pipeline.transform(rows), verbose=0)
        return (chances[:, 0] > 0.5).astype(int)


def save(folder: Path, pipeline: Pipeline, model: keras.Model) -> None:
    """Write both into one folder."""
    folder.mkdir()
    joblib.dump(pipeline, folder / "pipeline.joblib")
    model.save(folder / "model.keras")


def main() -> None:
    """Search, save the best pipeline and its model, and evaluate what was saved."""
    with tempfile.TemporaryDirectory() as directory:  # your own search keeps its directory
        tuner = OptunaTuner(
            build_model, n_trials=12, seed=0, directory=directory, study_name="pipeline"
        )
        tuner.search(train, validation_data=valid, epochs=8)
        tuner.summary(3)
        folder = Path(directory, "best")
        save(folder, fitted(tuner.best_trial), tuner.best_model())
        accuracy = np.mean(Saved(folder).predict(x_valid) == y_valid)
        print(f"Accuracy of the saved pipeline and model: {accuracy:.4f}")


if __name__ == "__main__":
    main()
