"""Compare samplers by the fronts of accuracy and size that they find: `fronts [seeds]`.

The recorded networks of three kinds are searched for both, and nothing is pruned. A number is the
share of the volume under the front of all configurations that is missing after so many trials; a
size counts by its logarithm.
"""

import itertools
import math
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import optuna
from optuna.samplers import NSGAIISampler, TPESampler

from kerastune_optuna import GaussianProcessSampler
from tests.benchmarks._sides import be_quiet, command_line, report, with_error
from tests.benchmarks.pruners import SPAWN
from tests.benchmarks.spaces import Recorded

BUDGETS = (15, 30, 50)  # trials
ROWS = {
    "GaussianProcessSampler": GaussianProcessSampler,
    "TPE": TPESampler,
    "NSGA-II": NSGAIISampler,
}


def clothes(params):
    """Return about how many parameters a network has."""
    first, second = params["filters_0"], params.get("filters_1")
    return 500 * first if second is None else 10 * first + 9 * first * second + 91 * second


def letters(params):
    units = params["units"]
    return 43 * units + (params["layers"] - 1) * units * (units + 1)


def vowels(params):
    units, recurrent = params["units"], {"gru": 3, "lstm": 4}
    if params["cell"] == "conv":
        return units * (12 * params["kernel"] + 10)
    return (1 + params["bidirectional"]) * units * (recurrent[params["cell"]] * (units + 14) + 9)


SIZES = {"clothes": clothes, "letters": letters, "vowels": vowels}


def volume(points):
    """Return the volume that points with two costs in [0, 1] dominate."""
    total, height = 0.0, 1.0
    for first, second in sorted(points):
        total += (1 - first) * max(0.0, height - second)
        height = min(height, second)
    return total


def search(cell):
    """Return the share of the volume that is missing after each number of trials."""
    be_quiet()
    row, name, seed = cell
    task = Recorded(name)

    def costs(params, curve):
        return np.array([-max(curve), math.log(SIZES[name](params))])

    every = [costs(dict(key), curve) for key, curve in task.rows()]
    low, high = np.min(every, axis=0), np.max(every, axis=0)
    whole = volume([tuple((one - low) / (high - low)) for one in every])
    study = optuna.create_study(directions=["minimize"] * 2, sampler=ROWS[row](seed=seed))
    found, missing = [], []
    for number in range(1, max(BUDGETS) + 1):
        trial = study.ask()
        params, curve = task.asked(trial)
        values = costs(params, curve)
        study.tell(trial, list(values))
        found.append(tuple((values - low) / (high - low)))
        if number in BUDGETS:
            missing.append(1 - volume(found) / whole)
    return missing


def main():
    seeds = command_line(__doc__, seeds=10).parse_args().seeds
    cells = list(itertools.product(ROWS, SIZES, range(seeds)))
    with ProcessPoolExecutor(2, SPAWN) as pool:
        outcomes = dict(zip(cells, pool.map(search, cells), strict=True))
    rows = []
    for row, name in itertools.product(ROWS, SIZES):
        columns = zip(*(outcomes[row, name, seed] for seed in range(seeds)), strict=True)
        rows.append([name, row, *map(with_error, columns)])
    header = [f"missing after {budget}" for budget in BUDGETS]
    report(["optuna", "scipy"], ["networks", "sampler", *header], rows)


if __name__ == "__main__":
    main()
