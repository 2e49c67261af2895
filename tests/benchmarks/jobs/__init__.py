"""Real jobs of `python -m tests.benchmarks.jobs`: modules with a JOB each, and what these need."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

CLOTHES = ("/usr/share/datasets/fashion-mnist", "apt install dataset-fashion-mnist")
LETTERS = "/usr/lib/R/site-library/mlbench/data/LetterRecognition.rda"
EPIGRAMS = "/usr/share/games/fortunes"
JOBS = {  # of each the files and modules that it reads, and the commands that install them
    "fashion": [CLOTHES],
    "mobilenet": [CLOTHES],
    "letters": [
        (LETTERS, "apt install --no-install-recommends r-cran-mlbench"),
        ("pyreadr", "pip install pyreadr"),
    ],
    "epigrams": [(f"{EPIGRAMS}/work", "apt install fortunes")],
    "series": [("statsmodels", "pip install statsmodels")],
    "unet": [CLOTHES],
    "iris": [],
}


def missing(name):
    """Say what a job lacks, and which commands install it; return None if all is there."""
    commands = [
        command
        for need, command in JOBS[name]
        if not (Path(need).exists() if need.startswith("/") else find_spec(need))
    ]
    return f"{name} needs data that are not here: {' && '.join(commands)}" if commands else None


def drawn(arrays, sizes, seed):
    """Return parts of the rows of arrays, as large as the sizes say; no row is in two of them."""
    order = np.random.default_rng(seed).permutation(len(arrays[0]))[: sum(sizes)]
    parts = np.split(order, np.cumsum(sizes)[:-1])
    return [tuple(array[rows] for array in arrays) for rows in parts]


def optimizer(trial):
    """Return Adam, or SGD with a momentum; each has a learning rate of its own."""
    import keras

    if trial.suggest_categorical("optimizer", ["adam", "sgd"]) == "adam":
        return keras.optimizers.Adam(trial.suggest_float("adam_rate", 1e-4, 1e-2, log=True))
    rate = trial.suggest_float("sgd_rate", 1e-3, 1e-1, log=True)
    return keras.optimizers.SGD(rate, momentum=trial.suggest_float("momentum", 0.0, 0.95))
