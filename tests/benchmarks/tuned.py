"""Fit with and without tf.data's tuning of rows in memory: `python -m tests.benchmarks.tuned`.

A small network trains on rows that are shuffled and put into batches, with as many steps in a call
as a search makes. `processes` says how many train at once, as workers do; of each side they do so
at the same time. Each has one thread for operations, unless TF_NUM_INTRAOP_THREADS is set.
"""

import os
import statistics
import time

from tests.benchmarks import _sides

SIZES = {  # rows, numbers in each, rows of a batch, epochs
    "iris": (120, 4, 10, 60),
    "digits": (1_400, 64, 32, 20),
    "images": (6_000, 784, 32, 8),
    "table": (20_000, 16, 64, 8),
}


def epoch(name, is_tuned, rounds, _):
    """Return how many milliseconds an epoch takes."""
    import keras
    import tensorflow as tf

    from kerastune_optuna._data.datasets import for_trainings, from_memory

    rows, numbers, size, epochs = SIZES[name]
    x, y = tf.random.uniform((rows, numbers), seed=1), tf.range(rows) % 3
    given = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(rows).batch(size)
    options = tf.data.Options()
    options.autotune.enabled = is_tuned
    dataset = for_trainings(from_memory(given)).begin(1).with_options(options)
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((numbers,)), *layers])
    steps = min(128, rows // size)
    model.compile("adam", "sparse_categorical_crossentropy", steps_per_execution=steps)
    return statistics.median(fit(model, dataset, epochs) for _ in range(rounds + 1))


def fit(model, dataset, epochs):
    """Train, and return the milliseconds of an epoch."""
    began = time.perf_counter()
    model.fit(dataset, epochs=epochs, verbose=0)
    return 1000 * (time.perf_counter() - began) / epochs


def measured(name, is_tuned, rounds, processes):
    """Run one side in some processes at once; return the mean of what an epoch takes in each."""
    calls = [("tuned:epoch", name, is_tuned, rounds, number) for number in range(processes)]
    return statistics.fmean(_sides.timed(*calls).answers)


def main():
    options = _sides.command_line(__doc__, SIZES, rounds=5, processes=2).parse_args()
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    rows = []
    for name in options.only:
        sides = (True, False)
        tuned, ours = (measured(name, one, options.rounds, options.processes) for one in sides)
        rows.append([name, f"{tuned:.2f}", f"{ours:.2f}", f"{ours / tuned:.2f}"])
    header = ["rows", "tuned, ms an epoch", "not tuned, ms an epoch", "ratio"]
    _sides.report(["keras", "tensorflow"], header, rows)


if __name__ == "__main__":
    main()
