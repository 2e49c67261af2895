"""Measure what search() adds to its trainings: `python -m tests.benchmarks.overhead [trials]`.

The network of examples/iris.py trains for ten epochs a trial, with SQLite and weights, in one
process: the time of search() less that inside of `build_model` and `Model.fit`, where calls to the
database do not count, and what most of it goes to. Then a plain loop builds and fits the same
configurations with the same seeds, as one does without a tuner. With `--jit`, XLA compiles all
models.
"""

import functools
import gc
import statistics
import tempfile
import time

from tests.benchmarks._sides import (
    add_jit,
    at_random,
    command_line,
    iris_task,
    report,
    search_ours,
    timed,
    with_jit,
)

EPOCHS, SEARCHES = 10, 3
PARTS = "build and fit", "database", "rehearsal", "garbage", "seeds", "weights", "history"


class Clock:
    """Note the seconds of functions by what they do; of nested ones, each has its own."""

    def __init__(self):
        self.seconds, self._within = dict.fromkeys(PARTS, 0.0), [0.0]

    def noted(self, part, function):
        """Return a function whose time is noted."""

        @functools.wraps(function)
        def call(*arguments, **options):
            began = time.perf_counter()
            self._within.append(0.0)
            try:
                return function(*arguments, **options)
            finally:
                took = time.perf_counter() - began
                self.seconds[part] += took - self._within.pop()
                self._within[-1] += took

        return call

    def note(self, part, owner, *names):
        """Replace functions of a module or class by such whose time is noted."""
        for name in names:
            setattr(owner, name, self.noted(part, getattr(owner, name)))


def watch(clock):
    """Note the time of all that takes much of it."""
    import keras
    from optuna.storages import BaseStorage

    from kerastune_optuna._storage import held
    from kerastune_optuna._trial import history, run, weights

    calls = [name for name in vars(BaseStorage) if not name.startswith("_")]
    clock.note("database", held.Held, *calls)
    clock.note("build and fit", keras.Model, "fit")
    clock.note("rehearsal", run, "make_ready")
    clock.note("garbage", gc, "collect")
    clock.note("seeds", keras.utils, "set_random_seed")
    clock.note("weights", weights, "save")
    clock.note("history", history, "save")


def searches(trials, jit):
    """Return of each search its seconds, those of the plain loop, and those of each part."""
    clock = Clock()
    search_once(clock, 1, jit)  # what only a first search pays: imports, threads, tables
    watch(clock)
    return [search_once(clock, trials, jit) for _ in range(SEARCHES)]


def search_once(clock, trials, jit):
    """Search in a new folder, and train the same without a tuner; return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        task = iris_task(folder, trials, EPOCHS)
        plain = with_jit(task.build_model) if jit else task.build_model
        task.build_model = clock.noted("build and fit", plain)
        clock.seconds = dict.fromkeys(PARTS, 0.0)
        began = time.perf_counter()
        tuner = search_ours(task, **at_random())
        whole, parts = time.perf_counter() - began, clock.seconds
        clock.seconds = dict.fromkeys(PARTS, 0.0)
        return whole, train_plainly(plain, task.fit, tuner.study.trials), parts


def train_plainly(build_model, fit, trials):
    """Train configurations as one does without a tuner; return the seconds."""
    import keras
    import optuna

    began = time.perf_counter()
    for trial in trials:
        keras.utils.set_random_seed(trial.user_attrs["seed"])
        build_model(optuna.trial.FixedTrial(trial.params)).fit(**fit)
    return time.perf_counter() - began


def main():
    options = add_jit(command_line(__doc__, trials=60)).parse_args()
    trials = options.trials
    found = timed(("overhead:searches", trials, options.jit)).answers[0]
    rows = [figures(*one, trials) for one in found]
    for number, row in enumerate(rows, 1):
        print(f"search {number}: ratio {row['search() / plain loop']:.3f}", flush=True)
    report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna"],
        [f"{trials} trials of {EPOCHS} epochs", f"median of {SEARCHES} searches"],
        [[name, f"{statistics.median(row[name] for row in rows):.2f}"] for name in rows[0]],
    )


def figures(whole, plain, parts, trials):
    """Return the figures of one search by name."""
    added = whole - parts["build and fit"]
    rest = {"all else": whole - sum(parts.values()), "search() less build and fit": added}
    seconds = {"search()": whole, **parts, **rest, "the plain loop": plain}
    of_trial = {f"{name}, ms a trial": 1000 * took / trials for name, took in seconds.items()}
    return of_trial | {"search() / plain loop": whole / plain}


if __name__ == "__main__":
    main()
