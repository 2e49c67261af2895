"""Texts of some lines, each from a collection about one topic, and a small transformer.

The collections are those of Debian's packages `fortunes` and `fortunes-min`.
"""

from functools import cache
from itertools import chain
from pathlib import Path

import keras
import numpy as np
from keras import layers

from tests.benchmarks._tools import Job
from tests.benchmarks.jobs import EPIGRAMS, drawn, optimizer

WORDS, LENGTH = 5_000, 24


@cache
def topics():
    """Return the files of the collections."""
    return sorted(path for path in Path(EPIGRAMS).iterdir() if not path.suffix)


def load(seed):
    """Return the first words of texts that the seed draws, as numbers, and their topics."""
    texts = [path.read_text().split("\n%\n") for path in topics()]
    labels = np.repeat(np.arange(len(texts), dtype="int32"), list(map(len, texts)))
    numbers = layers.TextVectorization(WORDS, output_sequence_length=LENGTH)
    numbers.adapt(texts := list(chain(*texts)))
    rows, first = np.unique(np.asarray(numbers(texts), "int32"), axis=0, return_index=True)
    return drawn((rows, labels[first]), (4_000, 2_000, 5_000), seed)


def block(trial, number, x):
    """Return what attention and two dense layers make of vectors, which are added each time."""
    width = x.shape[-1]
    heads = trial.suggest_categorical(f"heads_{number}", [1, 2, 4])
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(heads, width // heads)(x, x))
    units = trial.suggest_int(f"units_{number}", 32, 128, step=32)
    dense = layers.Dense(width)(layers.Dense(units, activation="relu")(x))
    return layers.LayerNormalization()(x + dense)


def build_model(trial):
    """Return a transformer of one or two blocks, each with heads and units of its own."""
    width = trial.suggest_int("width", 16, 64, step=16)
    words = keras.Input((LENGTH,), dtype="int32")
    places = keras.ops.cumsum(keras.ops.ones_like(words), axis=1) - 1
    x = layers.Embedding(WORDS, width)(words) + layers.Embedding(LENGTH, width)(places)
    for number in range(trial.suggest_int("blocks", 1, 2)):
        x = block(trial, number, x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5))(x)
    model = keras.Model(words, layers.Dense(len(topics()), activation="softmax")(x))
    model.compile(optimizer(trial), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


JOB = Job(build_model, load, "val_accuracy", batch_size=64)
