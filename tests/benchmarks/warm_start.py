"""Compare searches on the LCBench surrogate with and without the trials of earlier searches.

Run it from the repository: `python -m tests.benchmarks.warm_start --lcbench FOLDER` searches each
task with the defaults: from nothing, after the best configurations of three other tasks, of each of
which a search ran 30 trials, and beside 30 trials of the task itself, which count nowhere. The
table in Markdown has the regrets of `samplers.py` after as many epochs as 5 and 10 full trainings
have; `--choose` takes the tasks on which choices are made.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.benchmarks import samplers
from tests.benchmarks.pruners import SPAWN

N_OTHERS, N_TRIALS = 3, 30
BUDGETS = (5, 10)
NOTHING, FIRST, KNOWN = "from nothing", "the best {} of three other tasks first", "30 trials known"
FIRSTS = (1, 3, 6)
ROWS = [NOTHING, *map(FIRST.format, FIRSTS), KNOWN]


@cache
def earlier(folder: Path, name: str, seed: int) -> list[FrozenTrial]:
    """Return the trials of an earlier search, the best first, pruned ones by their best values."""
    task = samplers.task_of(folder, name)
    study = optuna.create_study(direction="maximize", study_name=f"{name}-earlier-{seed}")
    samplers.ROWS[samplers.OURS](study, 1000 + seed, task.epochs)
    while len(study.trials) < N_TRIALS:
        trial = study.ask()
        curve = task.curve(trial)
        while not samplers.has_ended(study, trial, curve):
            pass
    ended = [one for one in study.trials if one.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    shown = [
        create_trial(
            params=one.params,
            distributions=one.distributions,
            value=max(one.intermediate_values.values()),
        )
        for one in ended
    ]
    for place, one in enumerate(shown):
        one.number = place - len(shown)
    return sorted(shown, key=lambda one: -one.value)


def prepare(
    study: optuna.Study,
    seed: int,
    epochs: int,
    *,
    first: Sequence[dict[str, Any]] = (),
    known: Sequence[FrozenTrial] = (),
) -> None:
    """Give a study the defaults, configurations that go first, and trials that its sampler sees."""
    samplers.ours(study, seed, epochs, known)
    for params in first:
        study.enqueue_trial(params)


def run(folder: Path, names: Sequence[str], cell: samplers.Cell) -> samplers.Outcome:
    """Run the search of a row, a task and a seed."""
    samplers.be_quiet()
    row, name, seed = cell
    first: list[dict[str, Any]] = []
    known: list[FrozenTrial] = []
    if row == KNOWN:
        known = earlier(folder, name, seed)
    elif row != NOTHING:
        others = [other for other in names if other != name]
        chosen = random.Random(f"{name} {seed}").sample(others, N_OTHERS)
        ranked = zip(*(earlier(folder, other, seed) for other in chosen), strict=False)
        best = [one.params for one in itertools.chain(*ranked)]
        first = best[: FIRSTS[ROWS.index(row) - 1]]
    task = samplers.task_of(folder, name)
    return samplers.search(partial(prepare, first=first, known=known), task, seed, 1, BUDGETS)


def main() -> None:
    """Run all searches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lcbench", type=Path, required=True, help="folder of the surrogate")
    parser.add_argument("--choose", action="store_true", help="the tasks on which choices are made")
    parser.add_argument("--data", nargs="*", help="tasks; default: all")
    parser.add_argument("--rows", default="", help="texts with | between, one of which a row has")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--log", type=Path, help="file of searches; those that it has are not run")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    names = samplers.names_of(given.lcbench, choose=given.choose)
    rows = [row for row in ROWS if any(text in row for text in given.rows.split("|"))]
    cells = list(itertools.product(rows, given.data or names, given.seeds))
    with ProcessPoolExecutor(given.processes, SPAWN) as pool:
        outcomes = samplers.outcomes_of(cells, partial(run, given.lcbench, names), pool, given.log)
    by_row = {row: [outcomes[cell] for cell in cells if cell[0] == row] for row in rows}
    print(*samplers.table(by_row, BUDGETS), sep="\n")


if __name__ == "__main__":
    main()
