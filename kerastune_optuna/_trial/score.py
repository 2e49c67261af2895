"""The values of a training's objectives: metrics of its best epoch, and measured values."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from typing import Any, cast

import keras
import numpy as np

from kerastune_optuna._study import MEASURED, Objective
from kerastune_optuna._trial.inputs import TrainingInputs
from kerastune_optuna._trial.ledger import Ledger

_N_PARAMS, _FLOPS, _SECONDS, _INFERENCE_MS = MEASURED
_WARM_UP = 3  # calls, of which the first traces the function
_FEWEST, _MOST = 10, 200  # calls that are measured
_ENOUGH = 0.3  # seconds in total, after which no further calls are measured


def score(ledger: Ledger, inputs: TrainingInputs, model: keras.Model, flops: int) -> list[float]:
    """Return the value of each objective.

    Args:
        ledger: The ledger, whose training has come to its end.
        inputs: The inputs of the training.
        model: Its model, after training.
        flops: The FLOPs of the model; 0 if they are no objective.

    Raises:
        MetricNotFoundError: The logs lack a metric.
        ValueError: A metric is NaN, which Optuna does not accept as a value.
    """
    objectives, now = inputs.recipe.objectives, ledger.now

    def value(objective: Objective) -> float:
        if objective == objectives.watched:
            return cast(float, now.best_value)  # every completed training has one
        if objective.name == _N_PARAMS:
            return float(model.count_params())
        if objective.name == _FLOPS:
            return float(flops)
        if objective.name == _SECONDS:
            return now.seconds
        if objective.name == _INFERENCE_MS:
            return _inference_ms(model, inputs.fit.inputs_of_a_batch())
        return _logged(objective, now.logs)

    return [value(one) for one in objectives.each]


def _logged(objective: Objective, epoch: Mapping[str, Any]) -> float:
    """Return the value of a metric in the logs of an epoch."""
    name = objective.find(epoch)
    if name is None:
        raise objective.missing(epoch)
    if shape := np.shape(epoch[name]):
        raise objective.without_number(shape)
    if math.isnan(value := float(epoch[name])):
        raise ValueError(f"{name} is NaN at the best epoch")
    return value


def _inference_ms(model: keras.Model, batch: Any) -> float:
    """Return the time of one prediction in milliseconds: the median of many, after a warm-up.

    Args:
        model: The model.
        batch: One batch of inputs.
    """
    for _ in range(_WARM_UP):
        model.predict_on_batch(batch)
    times: list[float] = []
    while len(times) < _FEWEST or (len(times) < _MOST and sum(times) < _ENOUGH):
        began = time.perf_counter()
        model.predict_on_batch(batch)  # returns NumPy arrays, so it waits for the GPU
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
