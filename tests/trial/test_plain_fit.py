"""A trial is plain Model.fit with its seed, digit by digit, in short and long trainings."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from kerastune_optuna import OptunaTuner
from tests.support.marks import mostly_nightly
from tests.support.models import history

RNG = np.random.default_rng(0)
Y = np.arange(36) % 3
TABLE = RNG.normal(size=(36, 6)).astype("float32")
SERIES = RNG.normal(size=(36, 5, 3)).astype("float32")
IMAGES = RNG.normal(size=(36, 8, 8, 3)).astype("float32")
LONG = {"batch_size": 2, "epochs": 12}  # 216 steps, which make calls of many
SHORT = {"batch_size": 8, "epochs": 2}


class Noise(layers.Layer):
    """Sample whether the model trains or not, as an autoencoder does."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        """Add the noise."""
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


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


def normalised():
    """Return a classifier that knows the statistics of its data."""
    normalization = layers.Normalization()
    normalization.adapt(TABLE)
    return sequence(TABLE, normalization, layers.Dense(8, "relu"))


def with_own_test():
    """Return a functional model with a step of its own that has chance in it."""
    inputs = keras.Input((6,))
    return OwnTest(inputs, layers.Dense(3, activation="softmax")(Noise()(inputs)))


ZOO = {
    "dense": (TABLE, lambda: sequence(TABLE, layers.Dense(8, "relu"), layers.Dense(32, "relu"))),
    "activations": (
        TABLE,
        lambda: sequence(
            TABLE, *(layers.Dense(8, kind) for kind in ("elu", "selu", "gelu", "silu", "sigmoid"))
        ),
    ),
    "dropout": (TABLE, lambda: sequence(TABLE, layers.Dense(8, "relu"), layers.Dropout(0.3))),
    "normalization": (TABLE, normalised),
    "batch": (TABLE, lambda: sequence(TABLE, layers.Dense(8), layers.BatchNormalization())),
    "layer": (TABLE, lambda: sequence(TABLE, layers.Dense(8), layers.LayerNormalization())),
    "conv": (
        IMAGES,
        lambda: sequence(
            IMAGES,
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ),
    ),
    "augmented": (
        IMAGES,
        lambda: sequence(
            IMAGES,
            layers.RandomFlip(),
            layers.RandomRotation(0.1),
            layers.Conv2D(4, 3),
            layers.Flatten(),
        ),
    ),
    "lstm": (SERIES, lambda: sequence(SERIES, layers.LSTM(4, dropout=0.2))),
    "gru": (SERIES, lambda: sequence(SERIES, layers.GRU(4, dropout=0.2))),
    "attention": (SERIES, attending),
    "noise": (TABLE, lambda: sequence(TABLE, Noise(), layers.Dense(8, "relu"))),
    "lazy": (TABLE, Lazy),
    "own test": (TABLE, with_own_test),
    "unbuilt": (
        TABLE,
        lambda: keras.Sequential([layers.Dense(8, "relu"), layers.Dense(3, "softmax")]),
    ),
}

# In many steps a call they do what another does; `python -m tests.benchmarks.zoo` has them all.
OFTEN = ("dropout", "batch", "lstm", "lazy", "noise", "own test", "unbuilt")
MIXED = {
    f"{name}-{policy}": (name, policy)
    for name in ("dense", "conv", "lstm", "layer")
    for policy in ("mixed_float16", "mixed_bfloat16")
}


def trained(make, optimizer="adam", **options):
    """Return the model compiled."""
    model = make()
    kind = optimizer() if callable(optimizer) else optimizer
    model.compile(kind, "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


def assert_as_plain(directory, make, x, how=None, **fit):
    """Search for one trial, and train plainly with its seed: the logs are the same."""
    fit, how = {"validation_data": (x[:20], Y[:20]), "verbose": 0, **fit}, how or {}
    tuner = OptunaTuner(
        lambda trial: trained(make, **how), "val_loss", n_trials=1, seed=0, directory=directory
    )
    tuner.search(x, Y, **fit)
    keras.utils.set_random_seed(tuner.best_trial.user_attrs["seed"])
    plain = trained(make, **how).fit(x, Y, **fit).history
    rows = history(tuner, 0)
    assert {name: [float(row[name]) for row in rows] for name in plain} == plain


def test_a_training_without_a_graph_is_plain_fit(tmp_path):
    """This one is fast; those with a graph follow."""
    x, make = ZOO["dropout"]
    assert_as_plain(tmp_path, make, x, {"run_eagerly": True}, batch_size=20, epochs=2)


@pytest.mark.parametrize("name", mostly_nightly(list(ZOO), "conv", "augmented", "attention"))
def test_a_short_training_is_plain_fit(name, tmp_path):
    """Whatever the layers, two epochs log what Model.fit with the seed of the trial logs."""
    x, make = ZOO[name]
    assert_as_plain(tmp_path, make, x, **SHORT)


@pytest.mark.parametrize("name", mostly_nightly(list(ZOO), *OFTEN))
def test_a_long_training_is_plain_fit(name, tmp_path):
    """Nor do many steps a call change a digit."""
    x, make = ZOO[name]
    assert_as_plain(tmp_path, make, x, **LONG)


@pytest.mark.parametrize(
    "kind", mostly_nightly(["SGD", "RMSprop", "AdamW", "Nadam", "Adagrad"], "AdamW")
)
def test_an_optimizer_is_that_of_plain_fit(kind, tmp_path):
    """Whatever the optimizer, with what it may be asked for besides."""
    optimizer = lambda: getattr(keras.optimizers, kind)(0.02, clipnorm=1.0, use_ema=True)  # noqa: E731
    x, make = ZOO["dense"]
    assert_as_plain(tmp_path, make, x, {"optimizer": optimizer}, **SHORT)


@pytest.mark.parametrize(("name", "policy"), mostly_nightly(MIXED, "dense-mixed_float16"))
def test_a_mixed_precision_is_that_of_plain_fit(name, policy, tmp_path):
    """Half precision rounds as it does in plain fit."""
    x, make = ZOO[name]
    keras.config.set_dtype_policy(policy)
    try:
        assert_as_plain(tmp_path, make, x, **SHORT)
    finally:
        keras.config.set_dtype_policy("float32")
