"""What batches save that are made once: `python -m tests.benchmarks.batches [rounds]`.

Runs confirm(3, 5), executions_per_trial=5, cv=5 and a grid of rates and sizes of a batch on iris
and digits as arrays; beside it the same with arrays as Keras takes them. They run in turn and in
one process for each row, and must come to the same digits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from kerastune_optuna import OptunaTuner
from kerastune_optuna._trial import recipe
from tests.benchmarks._sides import iris_task, report, timed

EPOCHS = 10


class Task:
    """Hold an example's builder and its data as arrays."""

    def __init__(self, name: str, folder: str) -> None:
        self.folder, self.options = folder, {"seed": 0, "pruner": "none"}
        if name == "iris":
            task = iris_task(folder, 1, EPOCHS)
            self.build_model = task.build_model
            pipelines = task.fit["x"], task.fit["validation_data"]
            (x, y), validation = (_arrays_of(pipeline) for pipeline in pipelines)
            self.size, self.objective = 10, "val_categorical_accuracy"
        else:
            import digits

            self.build_model = digits.build_model
            x, x_val, y, y_val = digits.load()
            validation, self.size, self.objective = (x_val, y_val), 64, "val_accuracy"
        self.fit = {"x": x, "y": y, "epochs": EPOCHS, "verbose": 0}
        self.validation = {"validation_data": validation}

    def tuner(self, build_model: Any = None, **options: Any) -> OptunaTuner:
        """Return a tuner of a study of its own."""
        folder = tempfile.mkdtemp(dir=self.folder)
        options = {"objective": self.objective, "directory": folder, **self.options, **options}
        return OptunaTuner(build_model or self.build_model, **options)


def _arrays_of(pipeline: Any) -> tuple[Any, Any]:
    x, y = zip(*pipeline.as_numpy_iterator(), strict=True)
    return np.concatenate(x), np.concatenate(y)


def confirm(task: Task) -> tuple[float, list[Any]]:
    """Time five new trainings of each of three trials."""
    tuner, fit = task.tuner(n_trials=3, keep_best=3), {**task.fit, **task.validation}
    tuner.search(**fit, batch_size=task.size)
    began = time.perf_counter()
    found = tuner.confirm(3, 5, **fit, batch_size=task.size)
    return time.perf_counter() - began, [list(row.values) for row in found.ranking]


def search(task: Task, tuner: OptunaTuner, **arguments: Any) -> tuple[float, list[Any]]:
    """Time a search, and return the curves of its trials."""
    began = time.perf_counter()
    tuner.search(**task.fit, **arguments)
    took = time.perf_counter() - began
    return took, [[one.value, *one.intermediate_values.values()] for one in tuner.study.trials]


def executions(task: Task) -> tuple[float, list[Any]]:
    """Time two trials of five executions."""
    tuner = task.tuner(n_trials=2, executions_per_trial=5)
    return search(task, tuner, **task.validation, batch_size=task.size)


def folds(task: Task) -> tuple[float, list[Any]]:
    """Time two trials of five folds."""
    return search(task, task.tuner(n_trials=2), cv=5, batch_size=task.size)


def rates(task: Task) -> tuple[float, list[Any]]:
    """Time a grid of three rates and three sizes of a batch for one architecture."""

    def build_model(trial: Any) -> tuple[keras.Model, dict[str, Any]]:
        rate = trial.suggest_categorical("rate", [1e-3, 3e-3, 1e-2])
        size = trial.suggest_categorical("batch_size", [8, 16, 32])
        x, y = task.fit["x"], task.fit["y"]
        model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Flatten()])
        model.add(keras.layers.Dense(32, "relu"))
        model.add(keras.layers.Dense(10 if y.ndim == 1 else y.shape[1], "softmax"))
        loss = "sparse_categorical_crossentropy" if y.ndim == 1 else "categorical_crossentropy"
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        return model, {"batch_size": size}

    tuner = task.tuner(build_model, n_trials=None, sampler="grid", objective="val_accuracy")
    return search(task, tuner, **task.validation)


ROWS = {
    "confirm(3, 5)": confirm,
    "executions_per_trial=5": executions,
    "cv=5": folds,
    "a grid of rates and sizes": rates,
}


# What has something else in its place on each side; nothing on that which users have.
SIDES: list[tuple[Any, str, Any] | None] = [
    None,
    (recipe, "batched", lambda model, keywords: dict(keywords)),
]


def compare(name: str, row: str, rounds: int) -> tuple[list[list[float]], bool]:
    """Return the seconds of each side in each round, and whether the digits agree."""
    found, agree = [], True
    with tempfile.TemporaryDirectory() as folder:
        task = Task(name, folder)
        ROWS[row](task)  # TensorFlow starts threads with its first training
        for _ in range(rounds):
            sides = [_timed_with(change, row, task) for change in SIDES]
            found.append([seconds for seconds, _ in sides])
            agree = agree and all(values == sides[0][1] for _, values in sides)
    return found, agree


def _timed_with(
    change: tuple[Any, str, Any] | None, row: str, task: Task
) -> tuple[float, list[Any]]:
    """Time a row with something else in the place of what is measured."""
    if change is None:
        return ROWS[row](task)
    place, name, other = change
    usual = getattr(place, name)
    setattr(place, name, other)
    try:
        return ROWS[row](task)
    finally:
        setattr(place, name, usual)


def line(name: str, row: str, rounds: int) -> list[Any]:
    """Return a row of the table."""
    ((found, agree),) = timed(("batches:compare", name, row, rounds)).answers
    ratio = statistics.median(one / other for one, other in found)
    seconds = statistics.median(one for one, _ in found)
    return [name, row, f"{seconds:.2f}", f"{ratio:.2f}", "equal" if agree else "DIFFER"]


def main() -> None:
    """Compare all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    rounds = parser.parse_args().rounds
    report(
        ["kerastune_optuna", "keras", "tensorflow"],
        ["data", "what", "seconds", "beside arrays", "digits"],
        (line(name, row, rounds) for name in ("iris", "digits") for row in ROWS),
    )


if __name__ == "__main__":
    main()
