"""Carbon dioxide of the air by weeks, and recurrent networks that look back for a tuned time.

The series is in PyPI's package `statsmodels`, with 2,284 weeks from 1958 to 2001.
"""

import keras
import numpy as np

from tests.benchmarks._tools import Job
from tests.benchmarks.jobs import optimizer

LONGEST, AHEAD = 64, 4  # weeks that a network may look back, and that it forecasts


def load(_):
    """Return windows, and the change after each; the parts follow one another in time."""
    from statsmodels.datasets import co2

    series = co2.load().data["co2"].interpolate().to_numpy("float32")
    windows = np.lib.stride_tricks.sliding_window_view(series, LONGEST + AHEAD)
    now = windows[:, LONGEST - 1 : LONGEST]
    x, y = (windows[:, :LONGEST] - now)[..., None], windows[:, -1:] - now
    parts = slice(0, 1_400), slice(1_400, 1_800), slice(1_800, None)
    return [(x[part], y[part]) for part in parts]


def build_model(trial):
    """Return a network of one or two GRUs, each with units of its own."""
    window = trial.suggest_int("window", 8, LONGEST, step=8)
    n_layers = trial.suggest_int("layers", 1, 2)
    cropping = keras.layers.Cropping1D((LONGEST - window, 0))
    model = keras.Sequential([keras.Input((LONGEST, 1)), cropping])
    for layer in range(n_layers):
        units = trial.suggest_int(f"units_{layer}", 8, 32, step=8)
        model.add(keras.layers.GRU(units, return_sequences=layer < n_layers - 1))
    model.add(keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.3)))
    model.add(keras.layers.Dense(1))
    model.compile(optimizer(trial), "mae")
    return model


JOB = Job(build_model, load, "val_loss", batch_size=32, direction="minimize")
