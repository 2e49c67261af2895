"""Measure JAX with and without what a search keeps: `KERAS_BACKEND=jax python -m ...compiled`.

Each trial trains a network of the same shapes for ten epochs on iris, and tunes its learning rate
only. JAX's own variable switches off the cache in every second round.
"""

import os
import tempfile
from functools import partial

from tests.benchmarks import _sides

SIDES = {"kept": "true", "compiled anew": "false"}


def build_model(trial):
    """Return a network that has the same shapes in each trial."""
    import keras

    layers = [keras.layers.Dense(units, "relu") for units in (32, 16)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3, "softmax")])
    optimizer = keras.optimizers.Adam(trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True))
    model.compile(optimizer, "categorical_crossentropy", metrics=["categorical_accuracy"])
    return model


def search(trials, n_workers):
    """Search, and return the best value."""
    with tempfile.TemporaryDirectory() as folder:
        task = _sides.iris_task(folder, trials, 10)
        task.build_model = build_model
        return _sides.search_ours(task, n_workers, pruner="none").best_value


def measure(trials, n_workers, side, _turn):
    """Run a side once."""
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = SIDES[side]
    return _sides.timed(("compiled:search", trials, n_workers))


def main():
    options = _sides.command_line(__doc__, trials=12, workers=1, rounds=2).parse_args()
    one = partial(measure, options.trials, options.workers)
    runs = _sides.in_turn(SIDES, one, options.rounds)
    sums = {side: sum(run.seconds for run in runs[side]) for side in runs}
    kept, anew = sums.values()
    cells = [f"{seconds / options.rounds:.1f}" for seconds in (kept, anew)]
    trained = f"{options.trials} trials, {options.workers} worker(s)"
    header = [trained, "kept, s", "anew, s", "ratio"]
    _sides.report(["keras", "jax"], header, [["JAX", *cells, f"{kept / anew:.2f}"]])


if __name__ == "__main__":
    main()
