"""A search that is disturbed, for `kills` and `cuts`, and what is left of it."""

import argparse
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from kerastune_optuna import OptunaTuner
from tests.support.faults import EpochLog, finished, run_to_the_end, states
from tests.support.models import build_model, in_classes


class Search:
    """Search a small classifier in a folder, whose file "log" has the epochs of all trials."""

    def __init__(self, folder, n_trials, **options):
        options = {"directory": folder / "tuning", "backup_every": 0.2, **options}
        self.tuner = OptunaTuner(build_model, n_trials=n_trials, **options)
        self._folder, self._began = folder, time.monotonic()
        x, y = in_classes()
        self._train, self._validation = (x[:48], y[:48]), (x[48:], y[48:])

    def run(self, epochs, n_workers):
        """Search until the study is full."""
        fit = {"validation_data": self._validation, "epochs": epochs, "verbose": 0}
        log = EpochLog(self._folder / "log")
        self.tuner.search(*self._train, **fit, callbacks=[log], n_workers=n_workers)

    @property
    def broken(self):
        """How many finished trials have a curve with gaps."""
        steps = [sorted(trial.intermediate_values) for trial in finished(self.tuner)]
        return sum(of_trial != list(range(len(of_trial))) for of_trial in steps)

    @property
    def twice(self):
        """How many trials were trained to their end more than once."""
        return sum(runs > 1 for runs in run_to_the_end(self._folder / "log").values())

    @property
    def is_whole(self):
        """Whether no trial is missing or broken, and the best model is what the study says."""
        is_full = len(finished(self.tuner)) == self.tuner.n_trials
        return is_full and not self.broken and math.isclose(*self._best, abs_tol=1e-6)

    @property
    def _best(self):
        model = self.tuner.best_model()
        return self.tuner.best_value, model.evaluate(*self._validation, verbose=0)[1]

    def __str__(self):
        failed = [one for one in self.tuner.study.trials if one.state.name == "FAIL"]
        value, accuracy = self._best
        return (
            f"in {time.monotonic() - self._began:.0f} s; {len(finished(self.tuner))} finished of "
            f"{self.tuner.n_trials} trials ({dict(Counter(states(self.tuner)))}, failed for "
            f"{dict(Counter(one.user_attrs.get('stop_reason') for one in failed))}); {self.broken} "
            f"broken curves; trained to the end more than once: {self.twice}; best_value "
            f"{value:.6f}, best_model evaluates to {accuracy:.6f}"
        )


def run_each(survive, kinds, faults, times, n_trials, description):
    """Do what the command line says with each kind; exit with 1 where something was lost.

    `survive` takes a kind, a folder, how many faults and how many trials; it returns whether all is
    well, and a text. `faults` names the option that says how many; `times` is its default.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{faults}", dest="times", type=int, default=times)
    parser.add_argument("--trials", type=int, default=n_trials)
    parser.add_argument("--on", nargs="+", default=kinds, choices=kinds)
    given = parser.parse_args()
    lost = 0
    for kind in given.on:
        with tempfile.TemporaryDirectory() as folder:
            is_whole, told = survive(kind, Path(folder), given.times, given.trials)
            print(f"{kind}: {told}", flush=True)
            lost += not is_whole
    sys.exit(lost > 0)
