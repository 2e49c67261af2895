"""Compare how sure the default pruner must be: `python -m tests.benchmarks.thresholds recorded`.

Searches replay the recorded curves, or with `lcbench` those of LCBench, and the table has the regret
after so many trials, with the epochs as so many full trainings, and after so many full trainings.
"""

import os
import statistics
import sys
import zlib
from pathlib import Path

import numpy as np
import optuna

from kerastune_optuna._search import Chooser, pruner
from kerastune_optuna._search.learning import LearningSampler
from tests.benchmarks import samplers
from tests.benchmarks._sides import be_quiet, report, with_error
from tests.benchmarks.spaces import Recorded

THRESHOLDS = (0.2, 0.1, 0.05)
TRIALS, TRAININGS = (15, 20, 30), (5, 7, 10)


def search(task, seed, threshold):
    """Return the regret and the trainings after so many trials, and the regret after trainings."""
    pruner._P_THRESHOLD = pruner._P_OF_LONG = threshold
    study = optuna.create_study(direction="maximize", study_name=f"{task.name}-{seed}")
    Chooser(seed=zlib.crc32(f"{task.name} {seed}".encode())).start(study, 30, task.epochs)
    study.sampler = LearningSampler(
        study.sampler, samplers.GOAL, constrained=False, may_repeat=False
    )
    spent, number, found = 0, 0, {}
    while spent < max(TRAININGS) * task.epochs or number < max(TRIALS):
        trial = study.ask()
        curve, has_ended = task.curve(trial), False
        while not has_ended:
            has_ended = samplers.has_ended(study, trial, curve)
            spent += 1
            regret = (task.best - samplers.found(study)) / task.unit
            if spent % task.epochs == 0:
                found["trainings", spent // task.epochs] = regret
        number += 1
        found["trials", number] = regret, spent / task.epochs
    return found


def main():
    kind, epochs, first, last = sys.argv[1], *map(int, sys.argv[2:5])
    be_quiet()
    if kind == "recorded":
        tasks = [Recorded(name) for name in ("clothes", "digits", "iris", "letters", "vowels")]
    else:
        folder = Path(os.environ["LCBENCH"])
        names = samplers.names_of(folder, choose=False)
        tasks = [samplers.LCBench(folder, name) for name in names]
    for task in tasks:
        whole, task.epochs = task.curve, epochs
        task.curve = lambda trial, whole=whole: whole(trial)[:epochs]
    rows, base = [], None
    for threshold in THRESHOLDS:
        runs = [search(task, seed, threshold) for task in tasks for seed in range(first, last)]
        values = {n: [run["trials", n][0] for run in runs] for n in TRIALS}
        values |= {-n: [run["trainings", n] for run in runs] for n in TRAININGS}
        base = base or values
        spent = [statistics.fmean(run["trials", n][1] for run in runs) for n in TRIALS]
        less = [with_error(list(np.subtract(values[n], base[n]))) for n in values]
        rows.append([threshold, *map(with_error, values.values()), *spent, *less])
    header = ["threshold", *TRIALS, *TRAININGS, *(f"trainings of {n}" for n in TRIALS)]
    report(["optuna"], [*header, *(f"more at {n}" for n in (*TRIALS, *TRAININGS))], rows)


if __name__ == "__main__":
    main()
