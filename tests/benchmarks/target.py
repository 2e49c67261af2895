"""Time until a trial is good enough: `python -m tests.benchmarks.target [seeds] [accuracy]`.

It tunes a network for digits. The time is that of the whole process, with its imports: it ends with
the epoch that reaches the validation accuracy. Each side prunes in its own way.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from typing import Any

from tests.benchmarks._sides import (
    KERAS_TUNER,
    OPTUNA,
    OURS,
    Run,
    Task,
    give,
    in_turn,
    let_choose,
    make_keras_tuner,
    report,
    search_optuna,
    search_ours,
    timed,
    without_ours,
)

EPOCHS, TRIALS = 20, 30
SIDES = {
    "ours": f"{OURS} (TPE, its default pruner)",
    "optuna": f"{OPTUNA} (TPE, median pruner)",
    "hyperband": f"{KERAS_TUNER} Hyperband (factor 3)",
}


def digits_task(folder: str, seed: int, accuracy: float) -> Task:
    """Return the search, whose callback ends the process at that accuracy."""
    import keras
    from digits import build_model, load

    def look(epoch: int, logs: dict[str, float]) -> None:
        if logs["val_accuracy"] >= accuracy:
            give(logs["val_accuracy"])
            os._exit(0)

    x, x_val, y, y_val = load()
    data = {"x": x, "y": y, "validation_data": (x_val, y_val), "batch_size": 32}
    keras.utils.set_random_seed(seed)
    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=look)]
    return Task(build_model, data, "val_accuracy", TRIALS, EPOCHS, folder, seed, callbacks)


def ours(folder: str, seed: int, accuracy: float) -> None:
    """Search with our package and its defaults."""
    search_ours(digits_task(folder, seed, accuracy))


def optuna(folder: str, seed: int, accuracy: float) -> None:
    """Search with plain Optuna and its own callback for Keras."""
    without_ours()
    from optuna.pruners import MedianPruner
    from optuna.samplers import TPESampler
    from optuna_integration import KerasPruningCallback

    search_optuna(
        digits_task(folder, seed, accuracy),
        pruning=lambda trial: [KerasPruningCallback(trial, "val_accuracy")],
        sampler=TPESampler(seed=seed),
        pruner=MedianPruner(),
    )


def hyperband(folder: str, seed: int, accuracy: float) -> None:
    """Search with KerasTuner's Hyperband."""
    without_ours()
    task = digits_task(folder, seed, accuracy)
    tuner = make_keras_tuner(task, "Hyperband", max_epochs=EPOCHS, factor=3)
    tuner.search(**task.data, verbose=0, callbacks=task.callbacks)


def measure(side: str, seed: int, accuracy: float) -> Run:
    """Run a side once; where the accuracy never came, the time is infinite."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = timed((f"target:{side}", folder, seed, accuracy))
    return run if run.answers[0] is not None else run._replace(seconds=math.inf)


def row(side: str, runs: list[Run]) -> list[Any]:
    """Return a row of the table."""
    seconds = [run.seconds for run in runs]
    spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
    reached = sum(map(math.isfinite, seconds))
    return [SIDES[side], f"{statistics.median(seconds):.1f}", spread, f"{reached} of {len(runs)}"]


def main() -> None:
    """Run the sides in turn, once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=5)
    parser.add_argument("accuracy", type=float, nargs="?", default=0.98)
    let_choose(parser, SIDES)
    options = parser.parse_args()
    runs = in_turn(
        options.only, lambda side, seed: measure(side, seed, options.accuracy), options.seeds
    )
    report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna", "optuna-integration", "keras-tuner"],
        [f"until val_accuracy {options.accuracy:g}", "median s", "range s", "reached"],
        [row(side, runs[side]) for side in runs],
    )


if __name__ == "__main__":
    main()
