"""Measure what it brings to share out threads: `python -m tests.benchmarks.threads`.

Two workers (or more) search on one machine. Once each gets its share of the cores, as always, and
once the environment gives all cores to each of them, as a process has them that nobody told of
others: to operations, to several of them at a time, and so to tf.data.
"""

import os
import tempfile
from functools import partial

from tests.benchmarks import _sides

NAMES = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "PJRT_NPROC", "TF_NUM_INTEROP_THREADS")
SIDES = ("shared out", "all for each")
KINDS = ("table", "pipeline of images")


def table():
    """Return a builder of a dense network, and rows in memory."""
    import keras
    import numpy as np

    def build(trial):
        hidden = keras.layers.Dense(trial.suggest_int("units", 200, 300), "relu")
        return compiled(trial, [keras.Input((64,)), hidden, keras.layers.Dense(3)])

    x = np.random.default_rng(1).normal(size=(20_000, 64)).astype("float32")
    y = x[:, :3].argmax(1)
    return build, {"x": x, "y": y, "validation_split": 0.1, "batch_size": 64, "epochs": 6}


def images():
    """Return a builder of a convolutional network, and a pipeline that changes each image."""
    import keras
    import tensorflow as tf

    def build(trial):
        filters = trial.suggest_int("filters", 8, 16)
        layers = [keras.layers.Conv2D(filters, 3, activation="relu"), keras.layers.Flatten()]
        return compiled(trial, [keras.Input((32, 32, 3)), *layers, keras.layers.Dense(3)])

    def changed(image, label):
        return tf.image.random_contrast(tf.image.resize(image, (32, 32)), 0.5, 1.5), label

    pixels, labels = tf.random.uniform((1_500, 48, 48, 3), seed=1), tf.range(1_500) % 3
    rows = tf.data.Dataset.from_tensor_slices((pixels, labels))
    read = rows.shuffle(1_500).map(changed, num_parallel_calls=tf.data.AUTOTUNE)
    batches = read.batch(32).prefetch(tf.data.AUTOTUNE)
    return build, {"x": batches, "validation_data": batches.take(5), "epochs": 4}


def compiled(trial, layers):
    """Return a classifier with a rate that the trial draws."""
    import keras

    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(trial.suggest_float("lr", 1e-4, 1e-2, log=True)), loss)
    return model


def search(kind, trials, n_workers):
    """Search, and return the number of trials that ended."""
    from kerastune_optuna import OptunaTuner

    build, fit = {"table": table, "pipeline of images": images}[kind]()
    with tempfile.TemporaryDirectory() as folder:
        options = {"n_trials": trials, "directory": folder, "seed": 1, "sampler": "random"}
        tuner = OptunaTuner(build, "val_loss", pruner="none", **options)
        return len(tuner.search(**fit, n_workers=n_workers, verbose=0).results())


def measure(kind, trials, n_workers, side, _turn):
    """Run a side once."""
    cores = str(len(os.sched_getaffinity(0)))
    for name in NAMES:
        os.environ.pop(name, None)
        if side != SIDES[0]:
            os.environ[name] = cores
    return _sides.timed(("threads:search", kind, trials, n_workers))


def main():
    numbers = {"trials": 8, "workers": 2, "rounds": 3}
    options = _sides.command_line(__doc__, KINDS, **numbers).parse_args()
    rows = []
    for kind in options.only:
        one = partial(measure, kind, options.trials, options.workers)
        runs = _sides.in_turn(SIDES, one, options.rounds)
        shared, alone = (sum(run.seconds for run in runs[side]) for side in SIDES)
        cells = [f"{seconds / options.rounds:.1f}" for seconds in (shared, alone)]
        rows.append([kind, *cells, f"{shared / alone:.2f}"])
    header = [f"{options.workers} workers", *(f"{side}, s" for side in SIDES), "ratio"]
    _sides.report(["keras", "tensorflow"], header, rows)


if __name__ == "__main__":
    main()
