"""Cut the connections to a database three hundred times in a search, and count what is lost.

Run from the repository: `python -m tests.benchmarks.cuts [--cuts 300] [--trials 40]`. It exits
with 1 where a trial, an epoch or the weights of the best trial were lost.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from kerastune_optuna import OptunaTuner
from tests.support.faults import CuttingProxy, EpochLog, run_to_the_end
from tests.support.models import build_model
from tests.support.servers import SERVERS, database

_EPOCHS = 10


def survive(server, folder, cuts, n_trials):
    """Search with two workers while connections are cut; say what came of it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 72)
    x = (rng.normal(size=(72, 4)) + np.eye(3, 4)[y] * 2).astype("float32")
    began = time.monotonic()
    with database(server) as url, CuttingProxy(url) as proxy:
        tuner = OptunaTuner(
            build_model,
            n_trials=n_trials,
            storage=proxy.url,
            directory=folder / "tuning",
            backup_every=0.2,
        )
        assert tuner.study.trials == []
        proxy.cut_at_random(cuts)
        tuner.search(
            x[:48],
            y[:48],
            validation_data=(x[48:], y[48:]),
            epochs=_EPOCHS,
            n_workers=2,
            verbose=0,
            callbacks=[EpochLog(folder / "log")],
        )
        trials = tuner.study.trials
        ended = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
        steps = [sorted(trial.intermediate_values) for trial in ended]
        broken = sum(of_trial != list(range(len(of_trial))) for of_trial in steps)
        accuracy = tuner.best_model().evaluate(x[48:], y[48:], verbose=0)[1]
        is_whole = proxy.cuts >= cuts and len(ended) == n_trials and not broken
        is_whole &= math.isclose(accuracy, tuner.best_value, abs_tol=1e-6)
        return is_whole, (
            f"{server}: {proxy.cuts} cuts in {time.monotonic() - began:.0f} s; {len(ended)} "
            f"finished trials of {n_trials} ({dict(Counter(one.state.name for one in trials))}); "
            f"{broken} broken curves; trained to the end more than once: "
            f"{sum(runs > 1 for runs in run_to_the_end(folder / 'log').values())}; best_value "
            f"{tuner.best_value:.6f}, best_model evaluates to {accuracy:.6f}"
        )


def main():
    """Run the searches one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=300)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--servers", nargs="+", default=SERVERS)
    arguments = parser.parse_args()
    lost = 0
    for server in arguments.servers:
        with tempfile.TemporaryDirectory() as folder:
            is_whole, told = survive(server, Path(folder), arguments.cuts, arguments.trials)
            print(told, flush=True)
            lost += not is_whole
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
