"""Measure what search() adds to its trainings: `python -m tests.benchmarks.overhead [trials]`.

The lecture's network trains for ten epochs a trial, with SQLite and weights, in one process: the
time of search() less that inside of `build_model` and `Model.fit`, which calls our callbacks.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time

from tests.benchmarks._sides import at_random, command_line, iris_task, report, search_ours, timed

EPOCHS, SEARCHES = 10, 3


class Clock:
    """Add up the time inside of functions."""

    seconds = 0.0

    def around(self, function):
        """Return the function, timed by this clock."""

        @functools.wraps(function)
        def call(*arguments, **options):
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - began

        return call


def searches(trials):
    """Return of each search its seconds, and those inside."""
    import keras

    inside = Clock()
    keras.Model.fit = inside.around(keras.Model.fit)
    search_once(inside, 1)  # what only a first search pays: imports, threads, tables
    return [search_once(inside, trials) for _ in range(SEARCHES)]


def search_once(inside, trials):
    """Search in a new folder; return its seconds, and those inside."""
    whole = Clock()
    with tempfile.TemporaryDirectory() as folder:
        task = iris_task(folder, trials, EPOCHS)
        task.build_model = inside.around(task.build_model)
        inside.seconds = 0.0
        whole.around(search_ours)(task, **at_random())
    return whole.seconds, inside.seconds


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
