"""The text that tells data from other data, in a card."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from kerastune_optuna._data.checks import open_parcel
from kerastune_optuna._data.fingerprint import describe
from kerastune_optuna._data.transport import pack

X, Y = np.arange(24, dtype="float32").reshape(8, 3), np.arange(8)
KINDS = {
    "array": lambda x: x,
    "pair": lambda x: (x, Y),
    "dict": lambda x: {"a": x, "b": Y},
    "slice": lambda x: np.repeat(x, 2, axis=0)[::2],
    "tensor": tf.constant,
    "frame": lambda x: pd.DataFrame(x, columns=list("abc")),
    "text": lambda x: np.array([str(row) for row in x], dtype=object),
    "shuffled": lambda x: tf.data.Dataset.from_tensor_slices((x, Y)).shuffle(8).batch(4),
    "mapped": lambda x: tf.data.Dataset.from_tensor_slices(x).map(lambda row: row / 2).batch(4),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_the_text_follows_the_content(make):
    """The same content has the same text, and one other number gives another."""
    changed = X.copy()
    changed[5, 1] += 1
    assert describe(make(X)) == describe(make(X.copy())) != describe(make(changed))


def test_the_text_is_short_and_says_what_it_is():
    """Type and shape come before the digest."""
    assert describe((X, Y)).startswith("float32(8, 3) ")
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    assert describe(dataset).startswith("tf.data of 2 x float32(None, 3), int64(None,) ")
    assert describe({"rate": 0.5, "name": None}) == "None, 0.5"
    assert describe([object()]) == "object"
    assert describe(lambda: X) == "function"


def test_a_dataset_that_travelled_has_the_same_text():
    """The graph of a pipeline is another object, with other seeds, in each worker."""
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).map(lambda x, y: (x / 2, y)).shuffle(8)
    batches = dataset.batch(4)
    assert describe(open_parcel(pack("x", batches, None))) == describe(batches)


def test_it_does_not_move_a_shuffle():
    """A dataset that was described gives the order that it would have given."""

    def order(*, described):
        tf.keras.utils.set_random_seed(3)
        dataset = tf.data.Dataset.range(100).shuffle(100).batch(50)
        if described:
            describe(dataset)
        return [batch.numpy().tolist() for batch in dataset]

    assert order(described=True) == order(described=False)


@pytest.mark.parametrize("columns", [10, 1_000_000])
def test_it_reads_few_rows_of_many(columns):
    """Of 400 MB less than a tenth is copied, which takes milliseconds."""
    large = np.zeros((100_000_000 // columns, columns), "float32")
    tracemalloc.start()
    try:
        told = describe(large)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told.startswith(f"float32{large.shape} ")
    assert 4_000_000 < most < 40_000_000
