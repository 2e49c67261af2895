"""A dataset that shuffles begins anew for each training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._data.datasets import _from_seeds as from_seeds
from kerastune_optuna._data.datasets import parse, serialize, shuffling

ROWS = np.arange(400.0).reshape(100, 4)
SLICES = tf.data.Dataset.from_tensor_slices(ROWS)


def doubled(row):
    """Return what is always the same."""
    return row * 2


def epochs(dataset, n=2):
    """Return the rows of some epochs."""
    return [np.concatenate([batch.numpy() for batch in dataset]) for _ in range(n)]


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda rows: rows.batch(10).shuffle(10),
        lambda rows: rows.map(doubled).cache().shuffle(100).batch(10).prefetch(1),
        lambda rows: rows.shuffle(40).batch(10).shuffle(3),
        lambda rows: tf.data.Dataset.zip(rows.shuffle(100), rows).map(lambda a, _: a).batch(7),
    ],
)
def test_a_training_has_the_orders_of_the_pipeline_itself(pipeline):
    """With one seed, in all epochs."""
    keras.utils.set_random_seed(1)
    plain = pipeline(SLICES)
    keras.utils.set_random_seed(1)
    given = shuffling(pipeline(SLICES)).begin(1)
    assert given.element_spec == plain.element_spec
    assert int(given.cardinality()) == int(plain.cardinality())
    np.testing.assert_array_equal(epochs(given, 3), epochs(plain, 3))


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda rows: rows.shuffle(100, seed=5).batch(10),
        lambda rows: rows.cache().shuffle(100, seed=5).repeat(2).batch(10).prefetch(1),
        lambda rows: rows.shuffle(40, seed=1).map(doubled).batch(10).shuffle(3, seed=2),
        lambda rows: rows.shuffle(100, seed=5).take(20).batch(10),  # what is not read to its end
        lambda rows: tf.data.Dataset.zip(rows, rows.shuffle(100, seed=5)).map(lambda _, b: b),
        lambda rows: tf.data.Dataset.zip(rows.shuffle(100, seed=5), rows.shuffle(100, seed=7)).map(
            lambda a, b: a + b
        ),
    ],
)
def test_each_training_shuffles_from_the_beginning(pipeline):
    """Whatever read the pipeline before, a training gets the orders that a new one would have."""
    given = pipeline(SLICES)
    new = epochs(pipeline(SLICES))
    made = shuffling(given)
    epochs(given)
    for _ in range(2):
        np.testing.assert_array_equal(epochs(made.begin(1)), new)


def test_a_shuffle_without_a_seed_takes_that_of_the_training():
    """One seed of a training gives one order, and another one another."""
    tf.random.set_seed(None)  # what other tests may have set
    made = shuffling(SLICES.shuffle(100).batch(10))
    one, other = epochs(made.begin(1)), epochs(made.begin(2))
    np.testing.assert_array_equal(epochs(made.begin(1)), one)
    assert (np.array(one) != np.array(other)).any()


def test_a_large_pipeline_is_left_alone():
    """What takes long to copy is not copied for each training."""
    assert (
        shuffling(tf.data.Dataset.from_tensor_slices(np.zeros((70, 250_000))).shuffle(70)) is None
    )


def test_a_look_for_generators_adds_no_attributes():
    """TensorFlow prints an error for each attribute of a node that its op does not have."""
    definition = parse(serialize(tf.data.Dataset.range(9).cache().shuffle(9, seed=1)))
    before = {node.name: set(node.attr) for node in definition.node}
    assert from_seeds(definition)
    others = [node for node in definition.node if node.op != "DummySeedGenerator"]
    assert {node.name: set(node.attr) for node in others} == {
        node.name: before[node.name] for node in others
    }
