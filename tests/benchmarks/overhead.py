"""Measure what search() adds to its trainings: `python -m tests.benchmarks.overhead [trials]`.

The lecture's network trains for ten epochs a trial, with SQLite and weights, in one process: the
time of search() less that inside of `build_model` and `Model.fit`, which calls our callbacks.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import sqlalchemy

from tests.benchmarks._sides import iris_task, report, search_ours, timed

EPOCHS, SEARCHES = 10, 3
CALLS = ("transactions a trial", "statements a trial")


class Clock:
    """Add up the time inside of functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed by this clock."""

        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - began

        return call


def searches(trials: int) -> list[tuple[float, float, int, int]]:
    """Return of each search its seconds, those inside, its transactions and its statements."""
    import keras

    inside = Clock()
    keras.Model.fit = inside.around(keras.Model.fit)
    search_once(inside, 1)  # what only a first search pays: imports, threads, tables
    return [search_once(inside, trials) for _ in range(SEARCHES)]


def counted() -> Counter[str]:
    """Return what counts all transactions with databases, and all statements, from now on."""
    calls: Counter[str] = Counter()
    for event in ("begin", "before_cursor_execute"):
        note = functools.partial(lambda name, *_: calls.update([name]), event)
        sqlalchemy.event.listen(sqlalchemy.Engine, event, note)
    return calls


def search_once(inside: Clock, trials: int) -> tuple[float, float, int, int]:
    """Search in a new folder; return its seconds, those inside, transactions and statements."""
    import optuna

    whole, calls = Clock(), counted()
    with tempfile.TemporaryDirectory() as folder:
        task = iris_task(folder, trials, EPOCHS)
        task.build_model = inside.around(task.build_model)
        inside.seconds = 0.0
        sampler, pruner = optuna.samplers.RandomSampler(seed=1), optuna.pruners.NopPruner()
        whole.around(search_ours)(task, sampler=sampler, pruner=pruner)
    return whole.seconds, inside.seconds, calls["begin"], calls["before_cursor_execute"]


def main() -> None:
    """Measure, and print the median of the searches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=int, nargs="?", default=60)
    trials = parser.parse_args().trials
    found = timed(("overhead:searches", trials)).answers[0]
    for number, (whole, inside, *_) in enumerate(found, 1):
        print(f"search {number}: {whole:.2f} s, {inside:.2f} s of it build and fit", flush=True)
    whole, inside, begun, said = (statistics.median(of_all) for of_all in zip(*found, strict=True))
    added = statistics.median(one[0] - one[1] for one in found)
    calls = [f"{begun / trials:.0f}", f"{said / trials:.0f}"]
    report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna"],
        ["trials", "search(), s", "build and fit, s", "added, ms a trial", *CALLS],
        [[trials, f"{whole:.2f}", f"{inside:.2f}", f"{added / trials * 1000:.1f}", *calls]],
    )


if __name__ == "__main__":
    main()
