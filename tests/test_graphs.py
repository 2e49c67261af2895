"""A dataset is kept in memory where that shows nowhere but in the time that reading takes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna._graphs import kept_in_memory

ROWS = np.arange(400.0).reshape(100, 4)
SLICES = tf.data.Dataset.from_tensor_slices(ROWS)
VARIABLE = tf.Variable(1.0, dtype=tf.float64)


def doubled(row):
    """Return what is always the same."""
    return row * 2


def shaken(row):
    """Return something else each time."""
    return row + tf.random.uniform((), dtype=tf.float64)


def moved(row):
    """Return what depends on a variable."""
    return row + VARIABLE


def epochs(dataset, n=2):
    """Return the rows of some epochs."""
    return [np.concatenate([batch.numpy() for batch in dataset]) for _ in range(n)]


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda rows: rows.batch(10),
        lambda rows: rows.batch(30),
        lambda rows: rows.batch(10).shuffle(10),
        lambda rows: rows.map(doubled).shuffle(100).batch(10).prefetch(1),
        lambda rows: rows.shuffle(100).map(doubled).batch(30, drop_remainder=True),
        lambda rows: rows.shuffle(40).batch(10).shuffle(3),
        lambda rows: tf.data.Dataset.zip(rows.shuffle(100), rows).map(lambda a, _: a).batch(7),
    ],
)
def test_a_kept_pipeline_gives_the_same_rows(pipeline):
    """With one seed, the orders of all epochs are those of the pipeline itself."""
    keras.utils.set_random_seed(1)
    plain = pipeline(SLICES)
    keras.utils.set_random_seed(1)
    given = pipeline(SLICES)
    kept = kept_in_memory(given)
    assert kept is not given
    assert kept.element_spec == plain.element_spec
    assert int(kept.cardinality()) == int(plain.cardinality())
    np.testing.assert_array_equal(epochs(kept, 3), epochs(plain, 3))


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda rows: rows.map(shaken).batch(10),
        lambda rows: rows.shuffle(100).map(shaken).batch(10),
        lambda rows: rows.map(moved).batch(10),
        lambda rows: rows.repeat().batch(10),
        lambda rows: rows.shuffle(100).take(20).batch(10),  # what is not read to its end
        lambda rows: rows.filter(lambda row: row[0] > 4).batch(10),
        lambda rows: rows.map(tf.strings.as_string).batch(10),
        lambda rows: tf.data.Dataset.range(10**9).shuffle(10).batch(10),
        lambda rows: tf.data.Dataset.zip(rows, rows.shuffle(100)).map(lambda _, b: b).batch(10),
        lambda rows: tf.data.Dataset.random(seed=1).take(5),
        lambda rows: tf.data.Dataset.from_generator(lambda: iter([1]), output_types=tf.int64),
    ],
)
def test_what_may_differ_or_is_large_stays_as_it_is(pipeline):
    """Chance, state, Python, open sizes and what is read in part are left alone."""
    given = pipeline(SLICES)
    assert kept_in_memory(given) is given


@pytest.mark.parametrize("data", [None, ROWS, [ROWS], (ROWS, ROWS)])
def test_arrays_are_no_matter(data):
    """What is no dataset is given back."""
    assert kept_in_memory(data) is data


@pytest.mark.parametrize("shuffles", [True, False])
def test_a_source_is_read_once(shuffles, tmp_path):
    """After the first epoch the files may be gone."""
    np.arange(24, dtype="uint8").tofile(tmp_path / "rows")
    records = tf.data.FixedLengthRecordDataset(str(tmp_path / "rows"), 2)
    rows = records.map(lambda record: tf.ensure_shape(tf.io.decode_raw(record, tf.uint8), (2,)))
    rows = rows.apply(tf.data.experimental.assert_cardinality(12))
    kept = kept_in_memory((rows.shuffle(12) if shuffles else rows).batch(5))
    first = epochs(kept, 1)[0]
    (tmp_path / "rows").unlink()
    np.testing.assert_array_equal(*(np.sort(rows, axis=0) for rows in (first, epochs(kept, 1)[0])))


def test_a_search_trains_on_kept_datasets(search):
    """A pipeline with a shuffle is searched as ever, and evaluates to the value of the study."""
    x = SLICES.map(lambda row: (row / 400, tf.cast(row[0] > 200, tf.int64)))
    fit = {"x": x.shuffle(100).batch(10), "y": None, "validation_data": x.batch(10)}
    tuner = search(fit=fit, n_trials=2)
    _, accuracy = tuner.best_model().evaluate(fit["validation_data"], verbose=0)
    assert accuracy == pytest.approx(tuner.best_value, abs=1e-6)
