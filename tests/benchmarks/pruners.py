"""Compare Optuna's pruners on recorded learning curves: epochs saved, and accuracy lost.

Run it from the repository: `python -m tests.benchmarks.pruners [trials] [seeds] [epochs]` replays
the curves in the folder `curves`, as if trials had so many epochs, and prints a table in Markdown.
`python -m tests.benchmarks.pruners record [digits|iris]` trains the networks of the examples once
more and writes those curves anew.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import optuna
from optuna import pruners
from optuna.trial import FixedTrial

from tests.benchmarks.spaces import suggest

CURVES = Path(__file__).parent / "curves"
DATA_SETS = ("iris", "digits")
NO_PRUNER = "none"
SPAWN = multiprocessing.get_context("spawn")
EPOCHS = 20  # of each recorded training
STEPS = 18  # learning rates on each grid, which makes 324 points
GRIDS: dict[str, dict[str, list[Any]]] = {
    "iris": {
        "l1_neurons": [16, 40, 64],
        "l2_neurons": [4, 10, 16],
        "activation": ["sigmoid", "relu"],
        "learning_rate": [round(0.001 + 0.009 * i / (STEPS - 1), 6) for i in range(STEPS)],
    },
    "digits": {
        "conv_layers": [1, 2],
        "filters": [8, 16, 32],
        "dropout": [0.0, 0.25, 0.5],
        "learning_rate": [round(10 ** (-4 + 2 * i / (STEPS - 1)), 6) for i in range(STEPS)],
    },
}
# Each entry makes a pruner for trials of so many epochs.
PRUNERS: dict[str, Callable[[int], pruners.BasePruner]] = {
    NO_PRUNER: lambda _: pruners.NopPruner(),
    "Median": lambda _: pruners.MedianPruner(),
    "Median, startup 10": lambda _: pruners.MedianPruner(n_startup_trials=10),
    "Median, warmup 2": lambda _: pruners.MedianPruner(n_warmup_steps=2),
    "Median, warmup 4": lambda _: pruners.MedianPruner(n_warmup_steps=4),
    "Percentile 25": lambda _: pruners.PercentilePruner(25.0),
    "Percentile 25, warmup 2": lambda _: pruners.PercentilePruner(25.0, n_warmup_steps=2),
    "Percentile 25, warmup 4": lambda _: pruners.PercentilePruner(25.0, n_warmup_steps=4),
    "Percentile 75": lambda _: pruners.PercentilePruner(75.0),
    "Halving, eta 2": lambda _: pruners.SuccessiveHalvingPruner(1, 2),
    "Halving, eta 3": lambda _: pruners.SuccessiveHalvingPruner(1, 3),
    "Halving, eta 4": lambda _: pruners.SuccessiveHalvingPruner(1, 4),
    "Halving, min_resource 2, eta 2": lambda _: pruners.SuccessiveHalvingPruner(2, 2),
    "Halving, min_resource 2, eta 3": lambda _: pruners.SuccessiveHalvingPruner(2, 3),
    "Halving, min_resource 4, eta 2": lambda _: pruners.SuccessiveHalvingPruner(4, 2),
    "Hyperband, eta 2": lambda epochs: pruners.HyperbandPruner(1, epochs, 2),
    "Hyperband, eta 3": lambda epochs: pruners.HyperbandPruner(1, epochs, 3),
    "Wilcoxon, p 0.1": lambda _: pruners.WilcoxonPruner(p_threshold=0.1),
    "Wilcoxon, p 0.2 (our default)": lambda _: pruners.WilcoxonPruner(p_threshold=0.2),
    "Patient 2, Median": lambda _: pruners.PatientPruner(pruners.MedianPruner(), 2),
    "Patient 2, Percentile 25": lambda _: pruners.PatientPruner(pruners.PercentilePruner(25.0), 2),
}


class Training(NamedTuple):
    """What it takes to train the points of one grid."""

    build: Callable[[dict[str, Any]], Any]
    train: tuple[Any, Any]
    validation: tuple[Any, Any]
    metric: str
    batch_size: int


def iris_training() -> Training:
    """Return the training of the iris example, with its data read into arrays."""
    import numpy as np

    from examples import iris

    train, validation = (
        tuple(np.array(part) for part in zip(*rows.unbatch().as_numpy_iterator(), strict=True))
        for rows in iris.load_iris()
    )

    def build(params: dict[str, Any]) -> Any:
        """Build the network of one point."""
        return iris.build_model(FixedTrial(params))

    return Training(build, train, validation, "val_categorical_accuracy", 10)


def digits_training() -> Training:
    """Return the training of the digits example."""
    from examples import digits

    def build(params: dict[str, Any]) -> Any:
        """Give both layers the same filters."""
        filters = dict.fromkeys(("filters_0", "filters_1"), params["filters"])
        return digits.build_model(FixedTrial(params | filters))

    x_train, x_val, y_train, y_val = digits.load()
    return Training(build, (x_train, y_train), (x_val, y_val), "val_accuracy", 64)


def points(grid: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each point of a grid."""
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


@cache
def training_of(data: str) -> Training:
    """Return the training of a data set, whose rows have the same order in each process."""
    import keras

    keras.utils.set_random_seed(0)
    return iris_training() if data == "iris" else digits_training()


def train(job: tuple[str, dict[str, Any], int]) -> list[float]:
    """Train one point, and return its validation accuracy after each epoch."""
    import keras

    data, params, seed = job
    training = training_of(data)
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = training.build(params)
    # One call of TensorFlow an epoch is faster, and the weights come out the same.
    model.steps_per_execution = math.ceil(len(training.train[0]) / training.batch_size)
    sizes = {"epochs": EPOCHS, "batch_size": training.batch_size}
    fitted = model.fit(*training.train, validation_data=training.validation, verbose=0, **sizes)
    return [round(float(value), 4) for value in fitted.history[training.metric]]


def record(data: str) -> None:
    """Train each point of a grid once, and write the curves."""
    tried, rows = list(points(GRIDS[data])), []
    # New processes now and then, for TensorFlow keeps some of each model and gets slower.
    # (ProcessPoolExecutor can do so too, and hangs in Python 3.11 when it starts the next one.)
    with SPAWN.Pool(1, maxtasksperchild=40) as pool:
        curves = pool.imap(train, [(data, params, seed) for seed, params in enumerate(tried)])
        for params, curve in zip(tried, curves, strict=True):
            rows.append(json.dumps({"params": params, "curve": curve}, separators=(",", ":")))
            print(f"{data} {len(rows)}: {max(curve)}", flush=True)
    CURVES.mkdir(exist_ok=True)
    grid, lines = json.dumps(GRIDS[data], separators=(",", ":")), ",\n".join(rows)
    (CURVES / f"{data}.json").write_text(f'{{"grid":{grid},\n"curves":[\n{lines}\n]}}\n')


class Curves(NamedTuple):
    """The recorded curves of one grid."""

    grid: dict[str, list[Any]]
    of: dict[tuple[Any, ...], list[float]]


@cache
def read(data: str, epochs: int) -> Curves:
    """Return the first epochs of the recorded curves by the values of their parameters."""
    recorded = json.loads((CURVES / f"{data}.json").read_text())
    curves = {tuple(row["params"].values()): row["curve"][:epochs] for row in recorded["curves"]}
    return Curves(recorded["grid"], curves)


def replay(trial: optuna.Trial, curves: Curves) -> float:
    """Report a recorded curve until the pruner stops it; return its best value."""
    curve = curves.of[tuple(suggest(trial, *axis) for axis in curves.grid.items())]
    for epoch, accuracy in enumerate(curve):
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return max(curve)


def search(job: tuple[str, str, int, int, int]) -> tuple[float, float]:
    """Return the part of the epochs that one study saved, and its best complete value."""
    data, pruner, seed, trials, epochs = job
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    curves = read(data, epochs)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=PRUNERS[pruner](epochs),
        study_name=f"{data}-{seed}",  # Hyperband draws a trial's bracket from it
    )
    study.optimize(lambda trial: replay(trial, curves), n_trials=trials)
    ran = sum(len(trial.intermediate_values) for trial in study.trials)
    return 1 - ran / (trials * epochs), study.best_value


def compare(trials: int, seeds: int, epochs: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the means over seeds of what each pruner saved, and of its best values."""
    cells = list(product(DATA_SETS, PRUNERS))
    jobs = [(*cell, seed, trials, epochs) for cell in cells for seed in range(seeds)]
    with ProcessPoolExecutor(2, SPAWN) as pool:
        results = iter(list(pool.map(search, jobs, chunksize=5)))
    rows = {cell: [next(results) for _ in range(seeds)] for cell in cells}
    return {
        cell: (mean(row[0] for row in of), mean(row[1] for row in of)) for cell, of in rows.items()
    }


def table(means: dict[tuple[str, str], tuple[float, float]]) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    columns = [f"{data}: {what}" for data in DATA_SETS for what in ("epochs saved", "points lost")]
    yield f"| pruner | {' | '.join(columns)} |"
    yield f"| --- |{' ---: |' * len(columns)}"
    for pruner in PRUNERS:
        fields = [pruner]
        for data in DATA_SETS:
            saved, best = means[data, pruner]
            lost = round(100 * (means[data, NO_PRUNER][1] - best), 2) + 0.0  # never -0.00
            fields += [f"{100 * saved:.0f}%", f"{lost:.2f}"]
        yield f"| {' | '.join(fields)} |"


def main() -> None:
    """Record curves, or replay them and print the table."""
    if sys.argv[1:2] == ["record"]:
        for data in sys.argv[2:] or DATA_SETS:
            record(data)
        return
    given = [int(text) for text in sys.argv[1:]]
    trials, seeds, epochs = given + [30, 20, EPOCHS][len(given) :]
    versions = ", ".join(f"{name} {version(name)}" for name in ("optuna", "keras", "tensorflow"))
    print(f"Measured on {date.today()} with {versions}:", end=" ")
    print(f"{trials} trials of {epochs} epochs, {seeds} seeds.\n", flush=True)
    print(*table(compare(trials, seeds, epochs)), sep="\n")


if __name__ == "__main__":
    main()
