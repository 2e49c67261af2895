"""Data travels to workers, and is the same there."""

from __future__ import annotations

import os
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.faults import finished


@pytest.mark.slow
def test_functions_load_data_once_in_each_worker(search, data, tmp_path):
    """Two workers have data of their own, each once."""
    calls = tmp_path / "calls"

    def noted(name, value):
        with open(calls, "a") as file:
            file.write(f"{name}:{os.getpid()}\n")
        return value

    x, y, validation = data
    fit = {
        "x": lambda: noted("x", x),
        "y": lambda: noted("y", y),
        "validation_data": lambda: noted("validation_data", validation),
    }
    tuner = search(n_trials=4, fit={"n_workers": 2, "epochs": 1, **fit})
    cards = [one for name, one in tuner.study.user_attrs.items() if name.startswith("card:")]
    assert {card["data"]["x"] for card in cards} == {"float32(48, 4)"}
    loads = Counter(calls.read_text().split())
    assert set(loads.values()) == {1}
    workers = {name.split(":")[1] for name in tuner.results()["worker"]}
    assert {call.split(":")[1] for call in loads} >= workers


@pytest.mark.slow
def test_a_shuffled_dataset_has_another_order_in_each_epoch(search, tmp_path):
    """Each epoch has an order of its own, which is the same in all trials of two workers."""
    log = tmp_path / "orders"
    x = np.arange(48, dtype="float32").reshape(48, 1).repeat(4, axis=1)
    rows = tf.data.Dataset.from_tensor_slices((x, np.zeros(48, "int64")))

    def write(x):
        tf.print(x[:, 0], output_stream=f"file://{log}", summarize=-1)
        return x

    keras.utils.set_random_seed(1)  # which shuffle() takes for its own
    shuffled = rows.shuffle(48).batch(48).map(lambda x, y: (write(x), y))
    fit = {"x": shuffled, "y": None, "validation_data": rows.batch(48), "n_workers": 2, "epochs": 3}
    assert len(finished(search(n_trials=3, fit=fit))) == 3
    orders = log.read_text().split("\n")[:-1]
    assert len(orders) >= 3 * 3
    assert len(set(orders)) == 3
