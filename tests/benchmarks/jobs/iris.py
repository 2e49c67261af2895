"""The small network of `examples/iris.py`, and the rows of Iris without those that come twice."""

import numpy as np

from tests.benchmarks._tools import Job
from tests.benchmarks.jobs import drawn


def load(seed, sizes=(87, 30, 30)):
    """Return rows that the seed draws for training, validation and a test."""
    from iris import load_iris  # of examples/

    parts = [part for data in load_iris() for part in data.as_numpy_iterator()]
    rows = np.unique(np.concatenate([np.hstack(part) for part in parts]), axis=0)
    return drawn((rows[:, :4], rows[:, 4:]), sizes, seed)


def build_model(trial):
    """Return the network of the example."""
    from iris import build_model

    return build_model(trial)


JOB = Job(build_model, load, "val_categorical_accuracy", batch_size=16, trials=30)
