"""Count how often a report tells of a narrow range: `python -m tests.benchmarks.hints [studies]`.

Nothing is trained: the value of a trial is a function of four parameters, and noise; in the last
rows each trial comes to it in 20 epochs, of which the default pruner spares many. Where nothing
matters, or the best is well inside of all ranges, each sentence on the end of a range is a false
alarm.
"""

from itertools import product

import numpy as np
import optuna
from optuna.trial import TrialState

from kerastune_optuna._report import hints
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._search import Chooser
from kerastune_optuna._study import TrialRecord
from tests.benchmarks._sides import be_quiet, command_line, report

N_TRIALS = (30, 60)
NOISE = 0.06
EPOCHS = 20
WEIGHTS = np.array([1, 0.5, 0.2, 0])


def nothing(rng):
    """No parameter matters."""
    return lambda x: 0.0


def inside(rng):
    """The best of each parameter is inside of its range."""
    best = rng.uniform(0.2, 0.8, 4)
    return lambda x: float(WEIGHTS @ (x - best) ** 2)


def beyond(rng):
    """The best of the most important parameter is beyond its range."""
    best = np.array([1.3, *rng.uniform(0.2, 0.8, 3)])
    return lambda x: float(WEIGHTS @ (x - best) ** 2)


def study(truth, sampler, n_trials, *, is_pruned):
    rng = np.random.default_rng(n_trials)
    pruner = Chooser(pruner="wilcoxon" if is_pruned else "none").pruner_for(EPOCHS - 1)
    made = optuna.create_study(sampler=sampler, pruner=pruner)
    for _ in range(n_trials):
        trial = made.ask()
        # Of a range from 0 to 1 nothing is said: both are mostly ends by nature.
        x = np.array([trial.suggest_float(f"x{place}", 2, 3) - 2 for place in range(4)])
        value = truth(x) + NOISE * float(rng.standard_normal())
        made.tell(trial, *(train(trial, value, rng) if is_pruned else [value]))
    return made


def train(trial, value, rng):
    """Report epochs that come to a value, until the pruner ends them; return what to tell."""
    best = np.inf
    for epoch in range(EPOCHS):
        reported = value + 2 * np.exp(-(epoch + 1) / 3) + NOISE / 3 * rng.standard_normal()
        best = min(best, reported)
        trial.set_user_attr(TrialRecord.best_value, best)
        trial.report(reported, epoch)
        if epoch + 1 < EPOCHS and trial.should_prune():
            return None, TrialState.PRUNED
    return best, TrialState.COMPLETE


def count(name, n_trials, kind, repetitions):
    said = []
    for seed in range(repetitions):
        sampler = optuna.samplers.RandomSampler(seed=seed)
        if name != "random":
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        truth, is_pruned = kind(np.random.default_rng(seed)), name == "tpe, pruned"
        said.append(any(hints.edges(Facts(study(truth, sampler, n_trials, is_pruned=is_pruned)))))
    return [name, n_trials, kind.__name__, f"{np.mean(said):.1%}"]


def main():
    repetitions = command_line(__doc__, studies=200).parse_args().studies
    be_quiet()
    header = ["sampler", "trials", "what is best", "the end of a range is told"]
    cells = product(("random", "tpe", "tpe, pruned"), N_TRIALS, (nothing, inside, beyond))
    report(["kerastune_optuna", "optuna"], header, (count(*cell, repetitions) for cell in cells))


if __name__ == "__main__":
    main()
