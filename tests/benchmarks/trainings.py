"""Compare the tuner's training with Model.fit: `python -m tests.benchmarks.trainings [rounds]`.

Both train the same model from the same seed on scikit-learn's digits, in one process for each model
and number of epochs, in turn and after a warm-up. Ours counts from the call of the builder to the
saved weights, and the plain one from the call of the builder to the end of `fit`.
"""

import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import optuna

from kerastune_optuna import OptunaTuner
from tests.benchmarks._sides import command_line, report, timed

EPOCHS = (2, 20)


def compiled(*layers):
    """Return the classifier of ten digits with these layers below."""
    model = keras.Sequential([*layers, keras.layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def mlp(*widths):
    layers = [keras.layers.Dense(width, activation="relu") for width in widths]
    return compiled(keras.Input((64,)), *layers)


def cnn():
    convolution = keras.layers.Conv2D(16, 3, padding="same", activation="relu")
    pool, flatten = keras.layers.MaxPooling2D(), keras.layers.Flatten()
    return compiled(keras.Input((8, 8, 1)), convolution, pool, flatten)


MODELS = {
    "MLP 64-32": lambda trial: mlp(64, 32),
    "CNN": lambda trial: cnn(),
    "MLP 1024-1024": lambda trial: mlp(1024, 1024),
}


def train_plainly(model, fit, seed):
    """Train as one does without a tuner; return the seconds and the validation losses."""
    keras.utils.set_random_seed(seed)
    began = time.perf_counter()
    history = MODELS[model](None).fit(**fit)
    return time.perf_counter() - began, history.history["val_loss"]


def train_ours(model, fit):
    """Train as the only trial of a new study; return the seconds, the losses and the seed."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"n_trials": 1, "pruner": optuna.pruners.NopPruner(), "seed": 1}
        tuner = OptunaTuner(MODELS[model], "val_loss", directory=folder, **options)
        trial = tuner.search(**fit).best_trial
    losses = [value for _, value in sorted(trial.intermediate_values.items())]
    return trial.user_attrs["seconds"], losses, trial.user_attrs["seed"]


def compare(model, epochs, rounds):
    """Return for each round the plain seconds, ours, and the largest difference of the losses."""
    fit = {**data(model), "epochs": epochs, "batch_size": 32, "verbose": 0}
    *_, seed = train_ours(model, fit)  # it and the next are the warm-up
    train_plainly(model, fit, seed)
    found = []
    for number in range(rounds):
        if number % 2:  # each goes first in every second round
            ours, plain = train_ours(model, fit), train_plainly(model, fit, seed)
        else:
            plain, ours = train_plainly(model, fit, seed), train_ours(model, fit)
        difference = np.abs(np.subtract(plain[1], ours[1])).max()
        found.append((plain[0], ours[0], float(difference)))
    return found


def data(model):
    """Return the digits in the shape that the model takes."""
    from digits import load  # on the path of child processes alone

    x, x_val, y, y_val = load()
    if model != "CNN":
        x, x_val = x.reshape(-1, 64), x_val.reshape(-1, 64)
    return {"x": x, "y": y, "validation_data": (x_val, y_val)}


def row(model, epochs, rounds):
    """Measure one model; return its row of the table."""
    run = timed(("trainings:compare", model, epochs, rounds))
    plain, ours, differences = zip(*run.answers[0], strict=True)
    ratio = statistics.median(one / other for one, other in zip(ours, plain, strict=True))
    for number, times in enumerate(zip(plain, ours, strict=True), 1):
        print(f"{model}, {epochs} epochs, round {number}: plain %.3f s, ours %.3f s" % times)
    print(f"{model}, {epochs} epochs: ratio {ratio:.3f}", flush=True)
    medians = [f"{statistics.median(times):.3f}" for times in (plain, ours)]
    return [model, epochs, *medians, f"{ratio:.3f}", f"{max(differences):.2g}"]


def main():
    rounds = command_line(__doc__, rounds=5).parse_args().rounds
    report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna"],
        ["model", "epochs", "plain fit, s", "ours, s", "ratio", "largest difference of val_loss"],
        [row(model, epochs, rounds) for model in MODELS for epochs in EPOCHS],
    )


if __name__ == "__main__":
    main()
