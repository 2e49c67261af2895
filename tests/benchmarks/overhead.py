"""Measure what search() adds to its trainings: `python -m tests.benchmarks.overhead [trials]`.

The network of examples/iris.py trains for ten epochs a trial, with SQLite and weights, in one
process: the time of search() less that inside of `build_model` and `Model.fit`, which calls our
callbacks.
"""

import functools
import statistics
import tempfile
import time

from tests.benchmarks._sides import at_random, command_line, iris_task, report, search_ours, timed

EPOCHS, SEARCHES = 10, 3


def noted(seconds, function):
    """Return a function whose time is written down."""

    @functools.wraps(function)
    def call(*arguments, **options):
        began = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            seconds.append(time.perf_counter() - began)

    return call


def searches(trials):
    """Return of each search its seconds, and those inside."""
    import keras

    inside = []
    keras.Model.fit = noted(inside, keras.Model.fit)
    search_once(inside, 1)  # what only a first search pays: imports, threads, tables
    return [search_once(inside, trials) for _ in range(SEARCHES)]


def search_once(inside, trials):
    """Search in a new folder; return its seconds, and those inside."""
    whole = []
    with tempfile.TemporaryDirectory() as folder:
        task = iris_task(folder, trials, EPOCHS)
        task.build_model = noted(inside, task.build_model)
        inside.clear()
        noted(whole, search_ours)(task, **at_random())
    return sum(whole), sum(inside)


def main():
    trials = command_line(__doc__, trials=60).parse_args().trials
    found = timed(("overhead:searches", trials)).answers[0]
    for number, (whole, inside) in enumerate(found, 1):
        print(f"search {number}: {whole:.2f} s, {inside:.2f} s of it build and fit", flush=True)
    whole, inside = (statistics.median(of_all) for of_all in zip(*found, strict=True))
    added = statistics.median(one[0] - one[1] for one in found)
    report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna"],
        ["trials", "search(), s", "build and fit, s", "added, ms a trial"],
        [[trials, f"{whole:.2f}", f"{inside:.2f}", f"{added / trials * 1000:.1f}"]],
    )


if __name__ == "__main__":
    main()
