"""Compare ways out of a search that is stuck: `python -m tests.benchmarks.stuck recorded 20 0 24`.

Searches replay the recorded curves, or with `lcbench` those of LCBench, whose folder is in LCBENCH.
The table has the regret after so many trials, with the epochs as so many full trainings, and after
so many full trainings, and what each way has more than the default.
"""

import math
import os
import statistics
import sys
import zlib
from pathlib import Path

import numpy as np
import optuna

from kerastune_optuna._search import Chooser, auto, gaussian_process, process
from kerastune_optuna._search.learning import LearningSampler
from tests.benchmarks import samplers
from tests.benchmarks._sides import be_quiet, report, with_error
from tests.benchmarks.spaces import Recorded

TRIALS, TRAININGS = (15, 20, 30), (5, 7, 10)
STALLED = 5  # trials without a better one
Sampler, Process = gaussian_process.GaussianProcessSampler, process.Process
DRAWN, INDEPENDENT = Sampler._drawn, auto._FromTheMiddle.sample_independent
FITTED, SOLVED, LOSS = Process.__init__, Process._solved, Process._loss


def is_stalled(scores):
    """Whether a trial is every second one after the best one was long ago."""
    since = len(scores) - 1 - int(np.argmax(scores))
    return since >= STALLED and (since - STALLED) % 2 == 0


def at_random():
    """Draw at random where the search is stalled."""

    def drawn(self, box, done, running, scores):
        if not is_stalled(scores):
            return DRAWN(self, box, done, running, scores)
        box.learn_conditions(box.points([one.params for one in done]))
        return box.params(box.drawn(1, self._rng).rows(0))

    Sampler._drawn = drawn


def ask_for_more():
    """Expect an improvement by a deviation more where the search is stalled."""

    def fitted(self, points, values, *rest):
        FITTED(self, points, values, *rest)
        self.margin = float(is_stalled(values))

    def solved(self):
        whitener, alpha, best = SOLVED.func(self)
        return whitener, alpha, best + self.margin

    Process.__init__, Process._solved = fitted, process.cached_property(solved)
    Process._solved.__set_name__(Process, "_solved")


def spread():
    """Draw the first trials far from one another in each range, and each choice as often."""

    def place(range_, value):
        if isinstance(range_, optuna.distributions.CategoricalDistribution):
            return 9.0 * range_.to_internal_repr(value)
        scaled = math.log if range_.log else float
        low, high = scaled(range_.low), scaled(range_.high)
        return (scaled(value) - low) / max(high - low, 1e-9)

    def independent(self, study, trial, name, range_):
        drawn = [INDEPENDENT(self, study, trial, name, range_) for _ in range(4)]
        trials = study.get_trials(deepcopy=False)
        used = [place(range_, one.params[name]) for one in trials if name in one.params]
        if trial.number == 0 or not 0 < len(used) < 13:
            return drawn[0]
        return max(drawn, key=lambda value: min(abs(place(range_, value) - one) for one in used))

    auto._FromTheMiddle.sample_independent = independent


WAYS = {"default": lambda: None, "random": at_random, "more": ask_for_more, "spread": spread}


def search(task, seed):
    """Return the regret and the trainings after so many trials, and the regret after trainings."""
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


def restore():
    """Take the default's functions again."""
    Sampler._drawn, auto._FromTheMiddle.sample_independent = DRAWN, INDEPENDENT
    Process.__init__, Process._solved = FITTED, SOLVED


def main():
    kind, epochs, first, last = sys.argv[1], *map(int, sys.argv[2:5])
    be_quiet()
    if kind == "recorded":
        tasks = [
            Recorded(name, epochs) for name in ("clothes", "digits", "iris", "letters", "vowels")
        ]
    else:
        folder = Path(os.environ["LCBENCH"])
        tasks = [samplers.LCBench(folder, name) for name in samplers.names_of(folder, choose=False)]
    rows, base = [], None
    for way in sys.argv[5:] or WAYS:
        restore()
        WAYS[way]()
        runs = [search(task, seed) for task in tasks for seed in range(first, last)]
        values = {n: [run["trials", n][0] for run in runs] for n in TRIALS}
        values |= {-n: [run["trainings", n] for run in runs] for n in TRAININGS}
        base = base or values
        spent = [statistics.fmean(run["trials", n][1] for run in runs) for n in TRIALS]
        more = [with_error(list(np.subtract(values[n], base[n]))) for n in values]
        rows.append([way, *map(with_error, values.values()), *spent, *more])
    header = ["way", *TRIALS, *TRAININGS, *(f"trainings of {n}" for n in TRIALS)]
    report(["optuna"], [*header, *(f"more at {n}" for n in (*TRIALS, *TRAININGS))], rows)


if __name__ == "__main__":
    main()
