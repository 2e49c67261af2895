"""Each training reads a pipeline as plain Keras would, with an order from its own seed.

A dataset is kept in memory where that shows nowhere but in the time that reading takes.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._data.datasets import (
    Shuffling,
    for_trainings,
    from_memory,
    from_seeds,
    parse,
    serialize,
)
from kerastune_optuna._data.transport import open_parcel, pack

ROWS = np.arange(400.0).reshape(100, 4)
SLICES = tf.data.Dataset.from_tensor_slices(ROWS)
VARIABLE = tf.Variable(1.0, dtype=tf.float64)


def doubled(row):
    return row * 2


def epochs(dataset, n=2):
    return [np.concatenate([batch.numpy() for batch in dataset]) for _ in range(n)]


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda rows: rows.batch(10).shuffle(10),
        lambda rows: rows.map(doubled).shuffle(100).batch(10).prefetch(1),
        lambda rows: rows.shuffle(100).map(doubled).batch(30, drop_remainder=True),
        lambda rows: rows.shuffle(40).batch(10).shuffle(3),
        lambda rows: tf.data.Dataset.zip(rows.shuffle(100), rows).map(lambda a, _: a).batch(7),
    ],
)
def test_a_pipeline_for_trainings_gives_the_same_rows(pipeline):
    """With one seed, the orders of all epochs are those of the pipeline itself."""
    keras.utils.set_random_seed(1)
    plain = pipeline(SLICES)
    keras.utils.set_random_seed(1)
    given = pipeline(SLICES)
    made = for_trainings(given).begin(2)
    assert made.element_spec == plain.element_spec
    assert int(made.cardinality()) == int(plain.cardinality())
    np.testing.assert_array_equal(epochs(made, 3), epochs(plain, 3))


@pytest.mark.parametrize(
    "given",
    [
        SLICES.map(doubled).batch(10),
        tf.data.Dataset.from_tensor_slices(np.zeros((70, 250_000))).shuffle(70).batch(10),
    ],
)
def test_what_does_not_shuffle_or_is_large_stays_as_it_is(given):
    """There is no order to begin anew, or copying the graph for each training takes too long."""
    assert for_trainings(given) is given


@pytest.mark.parametrize("travels", [True, False])
def test_a_cache_before_a_shuffle_is_filled_once(travels, tmp_path):
    """After the first epoch the files may be gone, also for other trainings and processes."""
    np.arange(24, dtype="uint8").tofile(tmp_path / "rows")
    records = tf.data.FixedLengthRecordDataset(str(tmp_path / "rows"), 2)
    rows = records.map(lambda record: tf.io.decode_raw(record, tf.uint8)).cache()
    given = rows.shuffle(12).batch(5)
    given = open_parcel(pack("x", given, None)) if travels else given
    made = for_trainings(given)
    orders = epochs(made.begin(1), 1)
    (tmp_path / "rows").unlink()
    orders += epochs(made.begin(1)) + epochs(made.begin(2))
    for order in orders[1:]:
        np.testing.assert_array_equal(np.sort(orders[0], axis=0), np.sort(order, axis=0))


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
    made = for_trainings(given)
    epochs(given)
    for _ in range(2):
        np.testing.assert_array_equal(epochs(made.begin(1)), new)


def test_a_shuffle_without_a_seed_takes_that_of_the_training():
    """One seed of a training gives one order, and another one another."""
    tf.random.set_seed(None)  # what other tests may have set
    made = for_trainings(SLICES.shuffle(100).batch(10))
    one, other = epochs(made.begin(1)), epochs(made.begin(2))
    np.testing.assert_array_equal(epochs(made.begin(1)), one)
    assert (np.array(one) != np.array(other)).any()


def test_a_look_for_generators_adds_no_attributes():
    """TensorFlow prints an error for each attribute of a node that its op does not have."""
    definition = parse(serialize(tf.data.Dataset.range(9).cache().shuffle(9, seed=1)))
    before = {node.name: set(node.attr) for node in definition.node}
    assert from_seeds(definition)
    others = (node for node in definition.node if node.op != "DummySeedGenerator")
    assert all(set(node.attr) == before[node.name] for node in others)


def shaken(row):
    return row + tf.random.uniform((), dtype=tf.float64)


def moved(row):
    return row + VARIABLE


def for_one(data, seed=1):
    """Return the data as one training gets it."""
    made = for_trainings(from_memory(data))
    return made.begin(seed) if isinstance(made, Shuffling) else made


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda rows: rows.batch(10),
        lambda rows: rows.batch(30).map(doubled),
        lambda rows: rows.map(doubled).batch(30).prefetch(1),
        lambda rows: rows.map(doubled).shuffle(100, seed=1).batch(10).prefetch(1),
        lambda rows: rows.map(doubled).shuffle(40, seed=1).batch(30).shuffle(3, seed=2),
        lambda rows: rows.map(doubled).cache().shuffle(40, seed=1).batch(30, drop_remainder=True),
    ],
)
def test_a_kept_pipeline_gives_the_same_rows(pipeline):
    """Its batches, in all epochs, are those of the pipeline itself."""
    plain, given = pipeline(SLICES), pipeline(SLICES)
    kept = for_one(given)
    assert kept.element_spec == plain.element_spec
    assert int(kept.cardinality()) == int(plain.cardinality())
    for ours, own in zip(epochs(kept, 3), epochs(plain, 3), strict=True):
        np.testing.assert_array_equal(ours, own)


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda rows: rows.map(shaken).batch(10),
        lambda rows: rows.map(moved).batch(10),
        lambda rows: rows.shuffle(9).map(doubled).batch(10),
        lambda rows: rows.repeat().batch(10),
        lambda rows: rows.filter(lambda row: row[0] > 4).batch(10),
        lambda rows: rows.map(tf.strings.as_string).batch(10),
        lambda rows: tf.data.Dataset.random(seed=1).take(50).batch(5),
        lambda rows: tf.data.Dataset.from_tensor_slices(np.zeros((70, 250_000))).batch(7),
    ],
)
def test_what_may_differ_or_is_large_stays_as_it_is(pipeline):
    """Chance, state, open sizes, and functions after a shuffle are left to the user."""
    given = pipeline(SLICES)
    assert from_memory(given) is given


@pytest.mark.parametrize("shuffles", [True, False])
@pytest.mark.parametrize("travels", [True, False])
def test_a_source_is_read_once(shuffles, travels, tmp_path):
    """After the first epoch the files may be gone, also in another process."""
    np.arange(24, dtype="uint8").tofile(tmp_path / "rows")
    records = tf.data.FixedLengthRecordDataset(str(tmp_path / "rows"), 2)
    rows = records.map(lambda record: tf.ensure_shape(tf.io.decode_raw(record, tf.uint8), (2,)))
    rows = rows.apply(tf.data.experimental.assert_cardinality(12))
    given = (rows.shuffle(12) if shuffles else rows).batch(5)
    given = open_parcel(pack("x", given, None)) if travels else given
    made = for_trainings(from_memory(given))
    first, again = (made.begin(1), made.begin(2)) if shuffles else (made, made)
    orders = [epochs(first, 1)[0]]
    (tmp_path / "rows").unlink()
    orders += [epochs(first, 1)[0], epochs(again, 1)[0]]
    for order in orders[1:]:
        np.testing.assert_array_equal(np.sort(orders[0], axis=0), np.sort(order, axis=0))


@pytest.mark.parametrize("is_wanted", [False, True])
def test_rows_in_memory_are_not_tuned(is_wanted):
    """Unless the user asks for it."""
    options = tf.data.Options()
    if is_wanted:
        options.autotune.enabled = True
    given = SLICES.with_options(options).map(doubled).shuffle(9).batch(9)
    assert for_one(given).options().autotune.enabled is is_wanted
