"""A step before the training makes variables, saves a trace, and changes nothing else."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._rehearsal import rehearse

# A rehearsal saves a trace of TensorFlow's: with other backends there is none to save.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow's trainings are rehearsed"
)

X, Y = np.random.default_rng(0).normal(size=(96, 8)).astype("float32"), np.arange(96) % 3
SAMPLE = (tf.constant(X[:32]), tf.constant(Y[:32]))


class Noise(keras.layers.Layer):
    """Add noise whether the model trains or not, as the sampling of an autoencoder does."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        """Add the noise."""
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


class OwnStep(keras.Sequential):
    """Be evaluated in a way of one's own."""

    def test_step(self, data):
        """Evaluate."""
        return super().test_step(data)


class Refuses(keras.layers.Layer):
    """Work within a graph alone."""

    def call(self, x):
        """Raise where there is no graph."""
        if tf.executing_eagerly() and not isinstance(x, keras.KerasTensor):
            raise RuntimeError("no graph")
        return x


def compiled(*between, kind=keras.Sequential):
    """Return a classifier with some layers in it."""
    keras.utils.set_random_seed(0)
    softmax = keras.layers.Dense(3, activation="softmax")
    model = kind([keras.Input((8,)), keras.layers.Dense(8, activation="relu"), *between, softmax])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(model):
    """Train a model, and return its losses."""
    options = {"validation_data": (X, Y), "epochs": 2, "shuffle": False, "verbose": 0}
    return model.fit(X, Y, **options).history


def traces(model):
    """Return how often training traces the model's loss."""
    seen = []
    compute = model.compute_loss

    def count(*arguments, training=True, **options):
        seen.append(training)
        return compute(*arguments, training=training, **options)

    model.compute_loss = count
    fit(model)
    return seen.count(True)


def test_a_training_is_traced_once():
    """TensorFlow traces the training of a model once after a rehearsal, and twice without one."""
    rehearsed, plain = compiled(), compiled()
    assert set(rehearse(rehearsed, SAMPLE)) == {"loss", "accuracy"}
    assert traces(plain) == 2
    assert traces(rehearsed) == 1


@pytest.mark.parametrize("layer", [Noise, keras.layers.BatchNormalization])
def test_a_rehearsal_changes_no_training(layer):
    """Layers with seeds or statistics of their own train as without a rehearsal."""
    rehearsed, plain = compiled(layer()), compiled(layer())
    assert rehearse(rehearsed, SAMPLE) is not None
    assert fit(rehearsed) == fit(plain)


@pytest.mark.parametrize(
    "make",
    [lambda: compiled(kind=OwnStep), lambda: compiled(Refuses())],
    ids=["an own step", "no step without a graph"],
)
def test_what_could_show_is_left_alone(make):
    """A model that is evaluated in its own way, or not without a graph, is not rehearsed."""
    model = make()
    assert rehearse(model, SAMPLE) is None
    assert not model.optimizer.built
