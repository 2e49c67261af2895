"""Tune a network on a table with numbers and words, its batch size and its activation with it.

Run it as `python examples/tabular.py`. The layers that scale numbers and look words up are part of
each model, so that the best one takes rows as they are in the table.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from kerastune_optuna import OptunaTuner, choice

NUMBERS, WORDS = ["temperature", "wind"], ["day", "sky"]


def load() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return 400 days to train on and 100 to validate with, and whether many bikes were hired."""
    rng = np.random.default_rng(0)
    days = pd.DataFrame(
        {
            "temperature": rng.normal(15, 8, 500).astype("float32"),
            "wind": rng.gamma(2, 6, 500).astype("float32"),
            "day": rng.choice(["workday", "weekend", "holiday"], 500, p=[0.7, 0.25, 0.05]),
            "sky": rng.choice(["sun", "clouds", "rain"], 500),
        }
    )
    comfort = 2 - abs(days["temperature"] - 20) / 5 - days["wind"] / 20
    comfort += days["sky"].map({"sun": 1.0, "clouds": 0.0, "rain": -2.0})
    comfort += days["day"].map({"workday": 0.5, "weekend": 0.0, "holiday": -1.0})
    days["many"] = (comfort + rng.normal(0, 0.3, 500) > 0).astype("int64")
    return days[:400], days[400:]


def rows(days: pd.DataFrame) -> tf.data.Dataset:
    """Return the days as single rows."""
    features = {name: days[name].to_numpy() for name in NUMBERS}
    features |= {name: days[name].to_numpy(dtype=str) for name in WORDS}
    return tf.data.Dataset.from_tensor_slices((features, days["many"].to_numpy()))


def batches(days: pd.DataFrame) -> Callable:
    """Return a function that puts the rows in batches of the size that a trial suggests."""
    shuffled = rows(days).shuffle(400)
    return lambda trial: shuffled.batch(trial.suggest_categorical("batch_size", [16, 32, 64]))


def cosine(x):
    """Be an activation of one's own, which no database can hold."""
    return keras.ops.cos(x)


def encoded(name: str, column: pd.Series, value: keras.KerasTensor) -> keras.KerasTensor:
    """Return a number scaled, or a word as a vector, by a new layer that has seen the column."""
    if name in NUMBERS:
        layer = keras.layers.Normalization(axis=None)
        layer.adapt(column.to_numpy())
    else:
        layer = keras.layers.StringLookup(output_mode="one_hot")
        layer.adapt(column.to_numpy(dtype=str))
    return layer(value)


def builder(days: pd.DataFrame) -> Callable:
    """Return a function that builds networks for tables like this one."""

    def build_model(trial) -> keras.Model:
        """Return the compiled network for the values that a trial suggests."""
        inputs = {name: keras.Input((1,), name=name) for name in NUMBERS}
        inputs |= {name: keras.Input((1,), name=name, dtype="string") for name in WORDS}
        x = keras.layers.concatenate([encoded(name, days[name], inputs[name]) for name in inputs])
        activations = {"relu": "relu", "swish": "swish", "cosine": cosine}
        activation = choice(trial, "activation", activations)
        x = keras.layers.Dense(trial.suggest_int("units", 8, 32), activation=activation)(x)
        model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
        rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
        model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
        return model

    return build_model


def main() -> None:
    """Search, and evaluate the best model on rows as they are in the table."""
    train, validation = load()
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as directory:  # your own search keeps its directory
        tuner = OptunaTuner(
            builder(train), n_trials=6, seed=0, directory=directory, study_name="tabular"
        )
        tuner.search(batches(train), validation_data=rows(validation).batch(100), epochs=5)
        tuner.summary(3)
        model = tuner.best_model()
        _, accuracy = model.evaluate(rows(validation).batch(100), verbose=0)
        print(f"Accuracy of the best model: {accuracy:.4f}")


if __name__ == "__main__":
    main()
