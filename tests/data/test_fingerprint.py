"""The text that says what data is, in a card."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from kerastune_optuna._data.fingerprint import describe

X, Y = np.zeros((8, 3), "float32"), np.arange(8)
SPEC = "TensorSpec(shape=(None, 3), dtype=tf.float32, name=None)"
TEXTS = {
    "arrays": ((X, {"b": Y}), "float32(8, 3), int64(8,)"),
    "dataset": (tf.data.Dataset.from_tensor_slices(X).batch(4), f"tf.data.Dataset of {SPEC}"),
    "tensor": (tf.constant(X), "float32(8, 3)"),
    "table": (pd.DataFrame(X), "DataFrame(8, 3)"),
    "plain": ({"rate": 0.5, "name": None}, "None, 0.5"),
    "objects": ([object()], "object"),
    "function": (lambda: X, "function"),
    "many": ([1] * 99, ", ".join(["1"] * 16) + ", ..."),
}


@pytest.mark.parametrize(("data", "told"), TEXTS.values(), ids=TEXTS)
def test_the_text_is_short_and_says_what_it_is(data, told):
    """The type and the shape of each part, and nothing of its content."""
    assert describe(data) == told
