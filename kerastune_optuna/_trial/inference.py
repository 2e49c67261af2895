"""How long a model takes to predict one batch."""

from __future__ import annotations

import statistics
import time
from typing import Any

import keras

_WARM_UP = 3  # calls, of which the first traces the function
_FEWEST, _MOST = 10, 200  # calls that are measured
_ENOUGH = 0.3  # seconds: calls that took so long together are enough


def inference_ms(model: keras.Model, batch: Any) -> float:
    """Return the milliseconds of one prediction, the median of many after some that warm up.

    Args:
        model: The model.
        batch: One batch of inputs.
    """
    for _ in range(_WARM_UP):
        model.predict_on_batch(batch)
    times: list[float] = []
    while len(times) < _FEWEST or (len(times) < _MOST and sum(times) < _ENOUGH):
        began = time.perf_counter()
        model.predict_on_batch(batch)  # returns NumPy arrays, and so waits for the GPU
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
