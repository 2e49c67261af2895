"""Time the default pruner's decisions: `python -m tests.benchmarks.decisions`.

The first table has microseconds a decision beside Optuna's WilcoxonPruner, on curves whose values
tie, as accuracies on few rows do, and on curves without ties; the study is in memory. The second is
the share of `should_prune()`, which reads the study too, in the lecture's search of 30 trials of 20
epochs with all defaults.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from typing import Any

import numpy as np
import optuna

from tests.benchmarks._sides import iris_task, report, search_ours, timed
from tests.benchmarks.overhead import Clock

EPOCHS = (3, 5, 8, 10, 12, 13, 20, 50)
TRIALS, LENGTH = 30, 20
_SHORTEST = 0.2  # seconds that one figure is measured for, at least


def decision(pruner: Any, epochs: int, *, ties: bool) -> float:
    """Return the microseconds that a pruner takes for a trial of so many epochs."""
    rng = np.random.default_rng(epochs)
    best, own = np.sort(rng.uniform(0.5, 1, (2, epochs)))
    if ties:  # accuracies on 30 rows
        best, own = np.round(best * 30) / 30, np.round(own * 30) / 30
    study = optuna.create_study(direction="maximize", pruner=pruner)
    of_best = dict(enumerate(map(float, best)))
    study.add_trial(optuna.trial.create_trial(value=max(best), intermediate_values=of_best))
    trial = study.ask()
    for step, value in enumerate(own):
        trial.report(float(value), step)
    frozen, times = study.trials[-1], []
    while sum(times) < _SHORTEST or len(times) < 3:
        began = time.perf_counter()
        pruner.prune(study, frozen)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def shares() -> tuple[float, float]:
    """Return the seconds of a search, and those inside of should_prune()."""
    inside, whole = Clock(), Clock()
    optuna.Trial.should_prune = inside.around(optuna.Trial.should_prune)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        whole.around(search_ours)(iris_task(folder, TRIALS, LENGTH))
    return whole.seconds, inside.seconds


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    from kerastune_optuna._search.pruner import WilcoxonPruner

    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sides = [
        WilcoxonPruner(),
        optuna.pruners.WilcoxonPruner(p_threshold=0.2, n_startup_steps=2),
    ]
    rows = [
        [
            epochs,
            *(f"{decision(one, epochs, ties=ties):.0f}" for ties in (True, False) for one in sides),
        ]
        for epochs in EPOCHS
    ]
    header = ["epochs", "ties: ours, µs", "Optuna's", "no ties: ours, µs", "Optuna's"]
    report(["kerastune_optuna", "optuna", "scipy"], header, rows)
    whole, inside = timed(("decisions:shares",)).answers[0]
    header = [f"{TRIALS} trials of {LENGTH} epochs, all defaults", "should_prune(), s", "share"]
    row = [f"{whole:.1f} s", f"{inside:.2f}", f"{inside / whole:.1%}"]
    report(["kerastune_optuna", "keras", "tensorflow", "optuna"], header, [row])


if __name__ == "__main__":
    main()
