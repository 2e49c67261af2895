"""What priors bring on LCBench: `python -m tests.benchmarks.priors --lcbench FOLDER`.

Each task is searched with all defaults, and then with priors for all parameters: the best of 50
random configurations, as of a user who has a feeling for them, and the worst, as of one who is
quite wrong. Two rows enqueue these configurations instead, as a user does who calls enqueue(). The
table has the regrets after as many epochs as some full trainings have; see samplers.py for the
measure. A wrong prior should cost a fifth more epochs at most.
"""

import itertools
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import optuna

from kerastune_optuna._search import Chooser, enqueue
from kerastune_optuna._search.learning import LearningSampler
from tests.benchmarks import samplers
from tests.benchmarks._sides import be_quiet, command_line, report
from tests.benchmarks.pruners import SPAWN

N_RANDOM = 50  # configurations from which a user's belief is taken
# The place of the configuration in their order, and how sure the user is; None where it is enqueued
# and there are no priors.
ROWS = {
    "no prior": None,
    "the best of 50, enqueued": (-1, None),
    "the best of 50, medium": (-1, "medium"),
    "the best of 50, high": (-1, "high"),
    "the worst of 50, enqueued": (0, None),
    "the worst of 50, medium": (0, "medium"),
    "the worst of 50, high": (0, "high"),
}


def believed(task, place):
    """Return the configuration at a place in the order of some random ones."""
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    asked = [drawn.ask() for _ in range(N_RANDOM)]
    order = np.argsort([max(task.curve(trial)) for trial in asked])
    return asked[order[place]].params


def run(folder, budgets, cell):
    """Search as a tuner does whose user has these priors; return the regrets."""
    be_quiet()
    row, name, seed = cell
    task = samplers.task_of(folder, name)
    place, sureness = ROWS[row] or (None, None)
    params = {} if place is None else believed(task, place)
    priors = {key: (value, sureness) for key, value in params.items()} if sureness else None

    def prepare(study, seed, epochs):
        if params and not sureness:
            enqueue(study, params)  # before the search, as a user does
        Chooser(seed=seed, priors=priors).start(study, samplers.N_TRIALS, epochs)
        study.sampler = LearningSampler(
            study.sampler, samplers.GOAL, constrained=False, may_repeat=False
        )

    return samplers.search(prepare, task, seed, 1, budgets)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--lcbench", type=Path, required=True, help="folder of the surrogate")
    parser.add_argument("--choose", action="store_true", help="the tasks on which choices are made")
    parser.add_argument("--rows", default="", help="texts with | between, one of which a row has")
    parser.add_argument("--processes", type=int, default=2, help="that search at once")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--budgets", type=int, nargs="*", default=[5, 6, 10, 12, 20, 24])
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    names = samplers.names_of(given.lcbench, choose=given.choose)
    rows = [row for row in ROWS if any(text in row for text in given.rows.split("|"))]
    cells = list(itertools.product(rows, names, given.seeds))
    with ProcessPoolExecutor(given.processes, SPAWN) as pool:
        found = list(pool.map(partial(run, given.lcbench, given.budgets), cells))
    outcomes = {row: [] for row in rows}
    for (row, _, _), outcome in zip(cells, found, strict=True):
        outcomes[row].append(outcome)
    header = [f"{what} {budget}" for what in ("at", "less at") for budget in given.budgets]
    header = ["row", *header, "ms a trial, 30th", "100th"]
    report(("optuna", "scipy"), header, samplers.rows_of(outcomes))


if __name__ == "__main__":
    main()
