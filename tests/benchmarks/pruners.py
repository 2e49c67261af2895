"""Compare Optuna's pruners and ours on recorded learning curves: epochs saved, and accuracy lost.

Run it from the repository: `python -m tests.benchmarks.pruners [trials] [seeds] [epochs]` replays
the curves in the folder `curves`, as if trials had so many epochs, and prints a table in Markdown.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from statistics import mean

import optuna
from optuna import pruners

from kerastune_optuna._search.pruner import WilcoxonPruner
from tests.benchmarks._sides import be_quiet, command_line, report
from tests.benchmarks.spaces import Recorded

DATA_SETS = ("iris", "digits")
NO_PRUNER = "none"
SPAWN = multiprocessing.get_context("spawn")
EPOCHS = 20  # of each recorded training
# Each entry makes a pruner for trials of so many epochs.
PRUNERS = {
    NO_PRUNER: lambda _: pruners.NopPruner(),
    "Median": lambda _: pruners.MedianPruner(),
    "Median, startup 10": lambda _: pruners.MedianPruner(n_startup_trials=10),
    "Median, warmup 2": lambda _: pruners.MedianPruner(n_warmup_steps=2),
    "Median, warmup 4": lambda _: pruners.MedianPruner(n_warmup_steps=4),
    "Percentile 25": lambda _: pruners.PercentilePruner(25.0),
    "Percentile 25, warmup 2": lambda _: pruners.PercentilePruner(25.0, n_warmup_steps=2),
    "Percentile 25, warmup 4": lambda _: pruners.PercentilePruner(25.0, n_warmup_steps=4),
    "Percentile 75": lambda _: pruners.PercentilePruner(75.0),
    "Halving, eta 2": lambda _: pruners.SuccessiveHalvingPruner(1, 2),
    "Halving, eta 3": lambda _: pruners.SuccessiveHalvingPruner(1, 3),
    "Halving, eta 4": lambda _: pruners.SuccessiveHalvingPruner(1, 4),
    "Halving, min_resource 2, eta 2": lambda _: pruners.SuccessiveHalvingPruner(2, 2),
    "Halving, min_resource 2, eta 3": lambda _: pruners.SuccessiveHalvingPruner(2, 3),
    "Halving, min_resource 4, eta 2": lambda _: pruners.SuccessiveHalvingPruner(4, 2),
    "Hyperband, eta 2": lambda epochs: pruners.HyperbandPruner(1, epochs, 2),
    "Hyperband, eta 3": lambda epochs: pruners.HyperbandPruner(1, epochs, 3),
    # Ours: Optuna's takes a minute for a search of curves with ties.
    "Wilcoxon, p 0.05": lambda _: WilcoxonPruner(p_threshold=0.05),  # our default from 12 epochs on
    "Wilcoxon, p 0.1": lambda _: WilcoxonPruner(p_threshold=0.1),
    "Wilcoxon, p 0.2": lambda _: WilcoxonPruner(p_threshold=0.2),  # and for fewer
    "Patient 2, Median": lambda _: pruners.PatientPruner(pruners.MedianPruner(), 2),
    "Patient 2, Percentile 25": lambda _: pruners.PatientPruner(pruners.PercentilePruner(25.0), 2),
}


read = cache(Recorded)


def replay(trial, curves):
    """Report a recorded curve until the pruner stops it; return its best value."""
    curve = curves.curve(trial)
    for epoch, accuracy in enumerate(curve):
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return max(curve)


def search(job):
    """Return the part of the epochs that one study saved, and its best complete value."""
    data, pruner, seed, trials, epochs = job
    be_quiet()
    curves = read(data, epochs)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=PRUNERS[pruner](epochs),
        study_name=f"{data}-{seed}",  # Hyperband draws a trial's bracket from it
    )
    study.optimize(lambda trial: replay(trial, curves), n_trials=trials)
    ran = sum(len(trial.intermediate_values) for trial in study.trials)
    return 1 - ran / (trials * epochs), study.best_value


def compare(trials, seeds, epochs):
    """Return the means over seeds of what each pruner saved, and of its best values."""
    cells = list(product(DATA_SETS, PRUNERS))
    jobs = [(*cell, seed, trials, epochs) for cell in cells for seed in range(seeds)]
    with ProcessPoolExecutor(2, SPAWN) as pool:
        results = iter(list(pool.map(search, jobs, chunksize=5)))
    found = {cell: [next(results) for _ in range(seeds)] for cell in cells}
    return {cell: tuple(map(mean, zip(*of, strict=True))) for cell, of in found.items()}


def rows(means):
    """Yield the rows of the table."""
    for pruner in PRUNERS:
        fields = [pruner]
        for data in DATA_SETS:
            saved, best = means[data, pruner]
            lost = round(100 * (means[data, NO_PRUNER][1] - best), 2) + 0.0  # never -0.00
            fields += [f"{100 * saved:.0f}%", f"{lost:.2f}"]
        yield fields


def main():
    given = command_line(__doc__, trials=30, seeds=20, epochs=EPOCHS).parse_args()
    columns = [f"{data}: {what}" for data in DATA_SETS for what in ("epochs saved", "points lost")]
    found = compare(given.trials, given.seeds, given.epochs)
    report(("optuna", "keras", "tensorflow"), ["pruner", *columns], rows(found))


if __name__ == "__main__":
    main()
