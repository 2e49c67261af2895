"""A dataset is kept in memory where that shows nowhere but in the time that reading takes."""

import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._data.cache import from_memory
from kerastune_optuna._data.datasets import Shuffling, for_trainings
from kerastune_optuna._data.sources import open_parcel
from kerastune_optuna._data.transport import pack
from tests.data.test_datasets import SLICES, doubled, epochs

VARIABLE = tf.Variable(1.0, dtype=tf.float64)


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
