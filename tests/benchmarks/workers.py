"""Measure the lecture's search with one worker and with two: whole processes, in turn.

Run it as `python -m tests.benchmarks.workers [trials] [rounds]`. It prints a line for each run and
the ratio of the medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SEARCH = """
import sys
import optuna
from iris import EPOCHS, build_model, load_iris
from kerastune_optuna import OptunaTuner

train, test = load_iris()
tuner = OptunaTuner(
    build_model, "val_categorical_accuracy", n_trials=int(sys.argv[1]), directory=sys.argv[3],
    sampler=optuna.samplers.RandomSampler(seed=1), pruner=optuna.pruners.NopPruner(), seed=1,
)
tuner.search(train, validation_data=test, epochs=EPOCHS, n_workers=int(sys.argv[2]), verbose=0)
states = [trial.state.name for trial in tuner.study.trials]
assert states == ["COMPLETE"] * int(sys.argv[1]), states
"""


def seconds(trials: int, workers: int) -> float:
    """Return the wall time of a whole process that searches."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SEARCH, str(trials), str(workers), folder]
        began = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
        )
        return time.perf_counter() - began


def main() -> None:
    """Run one and two workers in turn, and print the ratio of their medians."""
    trials, rounds = (int(value) for value in [*sys.argv[1:], *["60", "3"][len(sys.argv) - 1 :]])
    took: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        for workers, runs in took.items():
            runs.append(seconds(trials, workers))
            print(f"round {turn + 1}: {workers} worker(s) {runs[-1]:.1f} s", flush=True)
    one, two = (statistics.median(runs) for runs in took.values())
    print(f"{trials} trials: 1 worker {one:.1f} s, 2 workers {two:.1f} s, ratio {two / one:.2f}")


if __name__ == "__main__":
    main()
