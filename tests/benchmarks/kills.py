"""Kill workers a hundred times on each kind of storage, and count what is lost.

Run from the repository: `python -m tests.benchmarks.kills [--kills 100] [--trials 60]`. It exits
with 1 where a trial or the weights of the best one were lost.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from kerastune_optuna import OptunaTuner
from tests.support.faults import EpochLog, Killer, run_to_the_end
from tests.support.models import build_model
from tests.support.servers import database

STORAGES = ("sqlite", "postgresql", "mariadb", "journal")


@contextmanager
def storage_of(kind, folder):
    """Give a new storage of a kind."""
    if kind == "sqlite":
        yield None
    elif kind == "journal":
        yield JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    else:
        with database(kind) as url:
            yield url


def survive(kind, folder, kills, n_trials):
    """Search with four workers while they are killed; say what came of it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 72)
    x = (rng.normal(size=(72, 4)) + np.eye(3, 4)[y] * 2).astype("float32")
    killer, began = Killer(kills, folder / "log", folder / "killed"), time.monotonic()
    with storage_of(kind, folder) as storage:
        tuner = OptunaTuner(
            build_model,
            n_trials=n_trials,
            storage=storage,
            directory=folder / "tuning",
            backup_every=0.2,
            max_failed_trials=kills + 1,
        )
        killer.start()
        tuner.search(
            x[:48],
            y[:48],
            validation_data=(x[48:], y[48:]),
            epochs=20,
            n_workers=4,
            verbose=0,
            callbacks=[EpochLog(folder / "log")],
        )
        killer.over.set()
        trials = tuner.study.trials
        states = Counter(trial.state.name for trial in trials)
        failed = [trial for trial in trials if trial.state is TrialState.FAIL]
        reasons = Counter(trial.user_attrs.get("stop_reason") for trial in failed)
        accuracy = tuner.best_model().evaluate(x[48:], y[48:], verbose=0)[1]
        finished = states["COMPLETE"] + states["PRUNED"]
        twice = sum(runs > 1 for runs in run_to_the_end(folder / "log").values())
        is_whole = len(killer.killed) == kills and finished == n_trials and not twice
        is_whole &= math.isclose(accuracy, tuner.best_value, abs_tol=1e-6)
        return is_whole, (
            f"{kind}: {len(killer.killed)} kills in {time.monotonic() - began:.0f} s; "
            f"{finished} finished trials of {n_trials} "
            f"({dict(states)}, failed for {dict(reasons)}); trained to the end more than once: "
            f"{twice}; best_value "
            f"{tuner.best_value:.6f}, best_model evaluates to {accuracy:.6f}"
        )


def main():
    """Run the searches one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--storages", nargs="+", default=STORAGES)
    arguments = parser.parse_args()
    lost = 0
    for kind in arguments.storages:
        with tempfile.TemporaryDirectory() as folder:
            is_whole, told = survive(kind, Path(folder), arguments.kills, arguments.trials)
            print(told, flush=True)
            lost += not is_whole
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
