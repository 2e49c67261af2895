"""Variables made before the training save a trace, and change nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._data.specs import specify
from kerastune_optuna._trial.rehearsal import rehearse
from tests.support.noise import Noise

# A rehearsal saves a trace of TensorFlow's: with other backends there is none to save.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow's trainings are rehearsed"
)

X, Y = np.random.default_rng(0).normal(size=(96, 8)).astype("float32"), np.arange(96) % 3
BATCH = specify(X, Y)
BUILT, UNBUILT = (keras.Input((8,)),), ()


class OwnStep(keras.Sequential):
    """Be evaluated in a way of one's own."""

    def test_step(self, data):
        """Evaluate."""
        return super().test_step(data)


class Subclassed(keras.Sequential):
    """Be of a kind of which only a call tells what it makes."""


def compiled(*between, kind=keras.Sequential, first=BUILT):
    keras.utils.set_random_seed(0)
    softmax = keras.layers.Dense(3, activation="softmax")
    model = kind([*first, keras.layers.Dense(8, activation="relu"), *between, softmax])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(model):
    options = {"validation_data": (X, Y), "epochs": 2, "shuffle": False, "verbose": 0}
    return model.fit(X, Y, **options).history


def traced(model):
    """Return how often training traces the model's loss, and the losses."""
    seen, compute = [], model.compute_loss

    def count(*arguments, training=True, **options):
        seen.append(training)
        return compute(*arguments, training=training, **options)

    model.compute_loss = count
    losses = fit(model)
    return seen.count(True), losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "first"), [(Noise, BUILT), (keras.layers.BatchNormalization, UNBUILT)]
)
def test_a_rehearsal_saves_a_trace_and_changes_no_training(layer, first):
    """Layers with seeds or statistics of their own train as without it, traced once, not twice."""
    rehearsed, plain = compiled(layer(), first=first), compiled(layer(), first=first)
    rehearse(rehearsed, BATCH)
    assert rehearsed.optimizer.built
    (once, losses), (twice, expected) = traced(rehearsed), traced(plain)
    assert (once, twice) == (1, 2)
    assert losses == expected


def mirrored():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        return compiled()


@pytest.mark.parametrize(
    "make",
    [lambda: compiled(kind=OwnStep), lambda: compiled(kind=Subclassed, first=UNBUILT), mirrored],
    ids=["an own step", "a subclass without inputs", "a strategy"],
)
def test_what_could_show_is_left_alone(make):
    """A model with a step of its own, that only a call builds, or of a strategy stays as it is."""
    model = make()
    rehearse(model, BATCH)
    assert not model.optimizer.built
    assert not model._compile_metrics.built


@pytest.mark.parametrize("batch_size", [None, 32])
def test_a_dataset_tells_its_batches(batch_size):
    """Arrays and datasets of them are specified alike; batches of one size keep it."""
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(32, drop_remainder=bool(batch_size))
    x, y = specify(dataset, None)
    assert (x.shape, x.dtype) == ((batch_size, 8), "float32")
    assert (y.shape, y.dtype) == ((batch_size,), "int64")
    assert [leaf.shape for leaf in BATCH] == [(None, 8), (None,)]


def test_other_data_tells_nothing():
    """Batches that only reading would show are not specified."""
    assert specify(tf.data.Dataset.range(3)) is None  # of single rows
    assert specify(tf.ragged.constant([[1], [1, 2]]), Y[:2]) is None
    assert specify([[1.0], [2.0]], [0, 1]) is None
