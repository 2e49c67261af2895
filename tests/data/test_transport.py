"""Data travels to workers, and is the same there."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.faults import finished


def told_of(tuner):
    """Return what the card of a search says of its x, and check that no file is left of it."""
    assert len(finished(tuner)) == 4
    assert not list(Path(tuner.directory, "test").glob("**/*.npy"))
    cards = [one for name, one in tuner.study.user_attrs.items() if name.startswith("card:")]
    (told,) = {card["data"]["x"] for card in cards}
    return told


@pytest.mark.slow
def test_datasets_travel_to_workers(search, data):
    """Two workers train on datasets of this process."""
    x, y, validation = data
    fit = {
        "x": tf.data.Dataset.from_tensor_slices((x, y)).shuffle(48).batch(16),
        "y": None,
        "validation_data": tf.data.Dataset.from_tensor_slices(validation).batch(16),
    }
    tuner = search(n_trials=4, fit={"n_workers": 2, "epochs": 1, **fit})
    assert told_of(tuner).startswith("tf.data.Dataset of (TensorSpec(shape=(None, 4)")


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
    assert told_of(tuner) == "float32(48, 4)"
    loads = Counter(calls.read_text().split())
    assert set(loads.values()) == {1}
    workers = {name.split(":")[1] for name in tuner.results()["worker"]}
    assert {call.split(":")[1] for call in loads} >= workers


@pytest.mark.slow
def test_one_seed_gives_one_table_for_all_forms_of_data(search, data, tmp_path):
    """With one worker and one seed, datasets, arrays and functions train the same trials."""
    x, y, validation = data
    batches = {"shuffle": False, "batch_size": 16}
    fits = {
        "arrays": batches,
        "datasets": {
            "x": tf.data.Dataset.from_tensor_slices((x, y)).batch(16),
            "y": None,
            "validation_data": tf.data.Dataset.from_tensor_slices(validation).batch(16),
        },
        "functions": {"x": lambda: x, "y": lambda: y, **batches},
    }
    tables = [
        search(n_trials=2, directory=tmp_path / form, fit=fit)
        .results()
        .drop(columns=["seconds", "worker"])
        for form, fit in fits.items()
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


@pytest.mark.slow
def test_a_shuffled_dataset_has_another_order_in_each_epoch(search, tmp_path):
    """Each epoch has an order of its own, which is the same in all trials of two workers."""
    log = tmp_path / "orders"
    rows = np.arange(48, dtype="float32").reshape(48, 1).repeat(4, axis=1)

    def write(x):
        tf.print(x[:, 0], output_stream=f"file://{log}", summarize=-1)
        return x

    dataset = tf.data.Dataset.from_tensor_slices((rows, np.zeros(48, "int64")))
    keras.utils.set_random_seed(1)  # which shuffle() takes for its own
    dataset = dataset.shuffle(48).batch(48).map(lambda x, y: (write(x), y))
    search(
        n_trials=3,
        fit={
            "x": dataset,
            "y": None,
            "validation_data": (rows, np.zeros(48)),
            "n_workers": 2,
            "epochs": 3,
        },
    )
    orders = log.read_text().split("\n")[:-1]
    assert len(orders) >= 3 * 3
    assert len(set(orders)) == 3
