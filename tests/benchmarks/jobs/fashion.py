"""Images of clothes in ten classes, and a convolutional network.

Fashion-MNIST is in Debian's package `dataset-fashion-mnist`.
"""

import keras

from tests.benchmarks._tools import Job
from tests.benchmarks.jobs import drawn, optimizer


def load(seed, sizes=(6_000, 2_000)):
    """Return images and labels that the seed draws, and the 10,000 that are there for a test."""
    from fashion_mnist import read_all  # of examples/

    rows, test = ((x[..., None].astype("float32") / 255, y) for x, y in read_all())
    return *drawn(rows, sizes, seed), test


def build_model(trial):
    """Return a network of one to three convolutions, each with filters of its own."""
    model = keras.Sequential([keras.Input((28, 28, 1))])
    has_norm = trial.suggest_categorical("batch_norm", [True, False])
    for block in range(trial.suggest_int("convolutions", 1, 3)):
        filters = trial.suggest_int(f"filters_{block}", 8, 32, step=8)
        model.add(keras.layers.Conv2D(filters, 3, padding="same", use_bias=not has_norm))
        if has_norm:
            model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation("relu"))
        model.add(keras.layers.MaxPooling2D())
    return with_head(trial, model)


def with_head(trial, model):
    """Add a hidden layer, if the trial has one, and the classes to a model, and compile it."""
    model.add(keras.layers.Flatten())
    if trial.suggest_categorical("hidden", [True, False]):
        units = trial.suggest_int("units", 32, 128, step=32)
        model.add(keras.layers.Dense(units, activation="relu"))
    model.add(keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(optimizer(trial), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


JOB = Job(build_model, load, "val_accuracy", batch_size=64)
