"""A table: which of 26 letters an image shows, by 16 numbers about it, and dense networks.

LetterRecognition is in Debian's package `r-cran-mlbench`, as a file of R that `pyreadr` reads.
"""

import keras

from tests.benchmarks._tools import Job
from tests.benchmarks.jobs import LETTERS, drawn, optimizer


def load(seed):
    """Return rows that the seed draws; of equal ones there is one."""
    import pyreadr

    table = pyreadr.read_r(LETTERS)["LetterRecognition"].drop_duplicates()
    x = table.drop(columns="lettr").to_numpy("float32") / 2.5 - 3
    y = table["lettr"].cat.codes.to_numpy("int32")
    return drawn((x, y), (8_000, 3_000, 7_000), seed)


def build_model(trial):
    """Return a network of one to three layers, each with units and dropout of its own."""
    model = keras.Sequential([keras.Input((16,))])
    activation = trial.suggest_categorical("activation", ["relu", "tanh"])
    for layer in range(trial.suggest_int("layers", 1, 3)):
        units = trial.suggest_int(f"units_{layer}", 32, 256, step=32)
        model.add(keras.layers.Dense(units, activation=activation))
        model.add(keras.layers.Dropout(trial.suggest_float(f"dropout_{layer}", 0.0, 0.5)))
    model.add(keras.layers.Dense(26, activation="softmax"))
    model.compile(optimizer(trial), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


JOB = Job(build_model, load, "val_accuracy", batch_size=32)
