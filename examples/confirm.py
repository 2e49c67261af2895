"""Search a small network on scikit-learn's wines, and find out how much of its best value was luck.

Run it as `python examples/confirm.py`. The best configurations are trained again under other seeds,
and measured on rows that the search did not see.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from kerastune_optuna import OptunaTuner


def load() -> list:
    """Return rows to train on, to validate with, and to hold out, and then their classes."""
    wines, classes = load_wine(return_X_y=True)
    x, x_held, y, y_held = train_test_split(
        scale(wines), classes, test_size=0.4, random_state=0, stratify=classes
    )
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.4, random_state=0, stratify=y)
    return [x, x_val, x_held, y, y_val, y_held]


def build_model(trial) -> keras.Model:
    """Return the compiled network for the values that a trial suggests."""
    model = keras.Sequential([keras.Input((13,))])
    model.add(keras.layers.Dense(trial.suggest_int("units", 2, 16), activation="relu"))
    model.add(keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)))
    model.add(keras.layers.Dense(3, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    """Search, confirm, and evaluate the winner."""
    x, x_val, x_held, y, y_val, y_held = load()
    tuner = OptunaTuner(build_model, "val_accuracy", n_trials=6, seed=0, study_name="wines")
    tuner.search(x, y, validation_data=(x_val, y_val), epochs=5)
    print(tuner.confirm(2, 3, x, y, (x_held, y_held), verbose=0))
    _, accuracy = tuner.best_model().evaluate(x_held, y_held, verbose=0)
    print(f"Accuracy on the held-out rows: {accuracy:.4f}")


if __name__ == "__main__":
    main()
