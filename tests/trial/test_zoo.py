"""Trainings are plain Keras's, and best models those of the best epochs, for models of all kinds.

`python -m tests.benchmarks.zoo` runs the whole zoo; these are some of each part of it.
"""

from __future__ import annotations

import pytest

from tests.benchmarks.zoo import EQUAL, rows_of

# Layers, then models, then data.
SOME = ("batch_norm", "lstm_dropout", "subclassed_says_built", "two_phases")
SOME += ("text_objects", "ragged", "generator_function", "tf_data_of_trial")
SOME += ("diffusion", "lora", "swap_ema")


@pytest.mark.nightly
def test_a_search_trains_as_plain_keras_does():
    """Each epoch is the same to the last digit, and so are the weights of the best models."""
    found = [(name, kind, why) for name, _, kind, why in rows_of(SOME, [1])]
    assert found == [(name, EQUAL, "") for name in SOME]


@pytest.mark.nightly
def test_workers_train_as_plain_keras_does():
    """Trials of two processes are those of plain Keras too, and so is the best model."""
    names = ("text_tensors",)
    found = [(name, kind, why) for name, _, kind, why in rows_of(names, [2])]
    assert found == [(name, EQUAL, "") for name in names]
