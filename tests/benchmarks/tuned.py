"""Read data in memory with and without tf.data's tuning: `python -m tests.benchmarks.tuned`.

A pipeline of a few batches, and one whose shuffled rows go through a function that takes long, are
read as trainings read them: by a compiled function, with a new iterator in each epoch. `processes`
says how many read at once, as workers do. Each has one thread for operations, unless the variable
TF_NUM_INTRAOP_THREADS says another number.
"""

import os
import statistics
import time

from tests.benchmarks import _sides


def pipelines():
    """Return the pipelines as users write them, and how many batches of each are read."""
    import tensorflow as tf

    rows = tf.data.Dataset.from_tensor_slices(tf.random.uniform((320, 32), seed=1))
    slow = rows.shuffle(320, seed=1).map(slowly, num_parallel_calls=tf.data.AUTOTUNE)
    return {
        "a shuffle": (rows.shuffle(320, seed=1).batch(10), 32),
        "a shuffle and a slow parallel map": (slow.batch(10).prefetch(tf.data.AUTOTUNE), 32),
    }


def slowly(row):
    """Return a row after many products of matrices."""
    import tensorflow as tf

    square = tf.tensordot(row, row, 0)
    for _ in range(20):
        square = tf.nn.softmax(square @ square)
    return square[0]


def ratios(epochs, rounds, _):
    """Return of each pipeline the seconds of both sides, tuned and as trainings get it."""
    import tensorflow as tf

    from kerastune_optuna._data.datasets import for_trainings

    tuning, found = tf.data.Options(), {}
    tuning.autotune.enabled = True
    for name, (given, n_batches) in pipelines().items():
        ours = for_trainings(given, is_read_whole=True).begin(1)
        sides = [reader(dataset, n_batches) for dataset in (ours.with_options(tuning), ours)]
        turns = [[read(epochs) for read in sides] for _ in range(rounds + 1)][1:]
        found[name] = [statistics.median(times) for times in zip(*turns, strict=True)]
    return found


def reader(dataset, n_batches):
    """Return a function that reads a dataset for some epochs, and returns how long that took."""
    import tensorflow as tf

    @tf.function
    def read_all(iterator):
        return tf.add_n([tf.reduce_sum(next(iterator)) for _ in range(n_batches)])

    def read(epochs):
        began = time.perf_counter()
        for _ in range(epochs):
            read_all(iter(dataset)).numpy()
        return time.perf_counter() - began

    return read


def main():
    numbers = {"epochs": 100, "rounds": 5, "processes": 2}
    options = _sides.command_line(__doc__, **numbers).parse_args()
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    calls = [("tuned:ratios", options.epochs, options.rounds, n) for n in range(options.processes)]
    answers = _sides.timed(*calls).answers
    rows = []
    for name in answers[0]:
        tuned, ours = (statistics.fmean(one[name][n] for one in answers) for n in range(2))
        times = [f"{1000 * seconds / options.epochs:.2f}" for seconds in (tuned, ours)]
        rows.append([name, *times, f"{ours / tuned:.2f}"])
    header = ["pipeline", "tuned, ms an epoch", "ours, ms an epoch", "ratio"]
    _sides.report(["tensorflow"], header, rows)


if __name__ == "__main__":
    main()
