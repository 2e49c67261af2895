"""Data that functions load is loaded by workers."""

import os
from collections import Counter

import pytest

from kerastune_optuna._study import Card
from tests.support.faults import trials_of


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
    tuner = search(n_trials=4, storage=None, fit={"n_workers": 2, "epochs": 1, **fit})
    cards = [Card.of(tuner.study, trial) for trial in trials_of(tuner)]  # of the workers
    assert {card.data["x"] for card in cards} == {"float32(48, 4)"}
    loads = Counter(calls.read_text().split())
    assert set(loads.values()) == {1}
    workers = {name.split(":")[1] for name in tuner.results()["worker"]}
    assert {call.split(":")[1] for call in loads} >= workers
