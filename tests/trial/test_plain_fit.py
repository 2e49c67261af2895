"""A trial is plain Model.fit with its seed, digit by digit, in short and long trainings.

`python -m tests.benchmarks.zoo`, which .ci/nightly runs, trains models of all kinds so.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from kerastune_optuna import OptunaTuner
from tests.support.models import history
from tests.support.noise import Noise

RNG = np.random.default_rng(0)
Y = np.arange(36) % 3
TABLE = RNG.normal(size=(36, 6)).astype("float32")
SERIES = RNG.normal(size=(36, 5, 3)).astype("float32")
IMAGES = RNG.normal(size=(36, 8, 8, 3)).astype("float32")
SHORT = {"batch_size": 8, "epochs": 2}


class Lazy(keras.Model):
    """Make the variables at the first call, with chance in it."""

    def __init__(self):
        super().__init__()
        self.steps = [layers.Dense(8), layers.Dropout(0.3), Noise(), layers.Dense(3, "softmax")]

    def call(self, x):
        """Call one layer after the other."""
        for step in self.steps:
            x = step(x)
        return x


class OwnTest(keras.Model):
    """Log a metric of one's own."""

    def test_step(self, *arguments):
        """Evaluate, and log one name more."""
        came = super().test_step(*arguments)
        if isinstance(came, tuple):  # JAX: the logs and the state
            return {**came[0], "own": came[0]["loss"]}, came[1]
        return {**came, "own": came["loss"]}


def sequence(x, *between):
    """Return a classifier of layers that are known by their input."""
    inputs = keras.Input(x.shape[1:])
    softmax = layers.Dense(3, activation="softmax", dtype="float32")
    return keras.Sequential([inputs, *between, softmax])


def attending():
    """Return a classifier with attention."""
    inputs = keras.Input(SERIES.shape[1:])
    x = layers.MultiHeadAttention(2, 3, dropout=0.1)(inputs, inputs)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", dtype="float32")(x))


def with_own_test():
    """Return a functional model with a step of its own that has chance in it."""
    inputs = keras.Input((6,))
    return OwnTest(inputs, layers.Dense(3, activation="softmax")(Noise()(inputs)))


def of_layers(x, make):
    """Return rows, and what makes a classifier of them of the layers that a function makes."""
    return x, lambda: sequence(x, *make())


SHORTLY = {
    "conv": of_layers(
        IMAGES, lambda: [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()]
    ),
    "augmented": of_layers(
        IMAGES, lambda: [layers.RandomFlip(), layers.RandomRotation(0.1), layers.Flatten()]
    ),
    "attention": (SERIES, attending),
}
LONG = {
    "dropout": of_layers(TABLE, lambda: [layers.Dense(8, "relu"), layers.Dropout(0.3)]),
    "batch": of_layers(TABLE, lambda: [layers.Dense(8), layers.BatchNormalization()]),
    "lstm": of_layers(SERIES, lambda: [layers.LSTM(4, dropout=0.2)]),
    "noise": of_layers(TABLE, lambda: [Noise(), layers.Dense(8, "relu")]),
    "lazy": (TABLE, Lazy),
    "own test": (TABLE, with_own_test),
    "unbuilt": (TABLE, lambda: keras.Sequential([layers.Dense(8), layers.Dense(3, "softmax")])),
}


def assert_as_plain(directory, x, make, how=dict, backup_every=60, **fit):
    """Search for one trial, and train plainly with its seed: the logs are the same."""
    fit = {"validation_data": (x[:20], Y[:20]), "verbose": 0, **SHORT, **fit}

    def build(trial=None):
        model = make()
        usual = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy"}
        model.compile(**{**usual, "metrics": ["accuracy"], **how()})
        return model

    options = {"seed": 0, "directory": directory, "backup_every": backup_every}
    tuner = OptunaTuner(build, "val_loss", n_trials=1, **options).search(x, Y, **fit)
    keras.utils.set_random_seed(tuner.best_trial.user_attrs["seed"])
    plain = build().fit(x, Y, **fit).history
    rows = history(tuner, 0)
    assert {name: [float(row[name]) for row in rows] for name in plain} == plain
    return tuner


def test_backups_change_no_digit(tmp_path):
    """A training that is backed up after epochs that are worse than the best draws as plain fit."""
    how = lambda: {"optimizer": keras.optimizers.Adam(0.05), "run_eagerly": True}  # noqa: E731
    fit = {"batch_size": 20, "epochs": 4, "validation_data": (TABLE[:20], (Y[:20] + 1) % 3)}
    tuner = assert_as_plain(tmp_path, *LONG["dropout"], how, backup_every=0, **fit)
    assert tuner.best_trial.user_attrs["best_epoch"] < 3


@pytest.mark.slow
@pytest.mark.parametrize(("x", "make"), SHORTLY.values(), ids=SHORTLY)
def test_a_short_training_is_plain_fit(x, make, tmp_path):
    """Whatever the layers, two epochs log what Model.fit with the seed of the trial logs."""
    assert_as_plain(tmp_path, x, make)


@pytest.mark.slow
@pytest.mark.parametrize(("x", "make"), LONG.values(), ids=LONG)
def test_a_long_training_is_plain_fit(x, make, tmp_path):
    """Nor do many steps a call change a digit: 216 make calls of many."""
    assert_as_plain(tmp_path, x, make, batch_size=2, epochs=12)


def dense():
    """Return a classifier of dense layers alone."""
    return sequence(TABLE, layers.Dense(8, "relu"), layers.Dense(32, "relu"))


@pytest.mark.slow
def test_an_optimizer_is_that_of_plain_fit(tmp_path):
    """With what it may be asked for besides."""
    how = lambda: {"optimizer": keras.optimizers.AdamW(0.02, clipnorm=1.0, use_ema=True)}  # noqa: E731
    assert_as_plain(tmp_path, TABLE, dense, how)


@pytest.mark.slow
def test_a_mixed_precision_is_that_of_plain_fit(tmp_path):
    """Half precision rounds as it does in plain fit, and the best model comes to its value."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        tuner = assert_as_plain(tmp_path, TABLE, dense)
        model = tuner.best_model()
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layers[0].compute_dtype == "float16"
    loss = model.evaluate(TABLE[:20], Y[:20], batch_size=8, verbose=0)[0]
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)
