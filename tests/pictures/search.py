"""The search that the pictures show: rows of Fashion-MNIST, and a network of three parameters.

All is the default but `backup_every=0`, a backup after each epoch: a trial takes some ten seconds
here, and the default is a backup a minute.
"""

import keras
from fashion_mnist import load  # of examples/

from kerastune_optuna import OptunaTuner


def clothes(trial):
    """Return the compiled network for the values that a trial suggests."""
    units = trial.suggest_int("units", 8, 256, log=True)
    hidden = [keras.layers.Dense(units, "relu") for _ in range(trial.suggest_int("depth", 1, 3))]
    ends = keras.layers.Flatten(), keras.layers.Dense(10, "softmax")
    model = keras.Sequential([keras.Input((28, 28, 1)), ends[0], *hidden, ends[1]])
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    optimizer, loss = keras.optimizers.Adam(rate), "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


(x, y), validation, _ = load(6_000, 4_000)
tuner = OptunaTuner(clothes, "val_accuracy", n_trials=30, backup_every=0)
tuner.search(x, y, validation_data=validation, epochs=15)
