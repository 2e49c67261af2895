"""Compare the tuner's training with Model.fit: `python -m tests.benchmarks.trainings [rounds]`.

Both train the same model three times, from the same seeds, on scikit-learn's digits, in one
process for each model and number of epochs, in turn and after a warm-up. Ours counts from the call
of the builder to the saved weights, and the plain one from the call of the builder to the end of
`fit`. The large models see so few digits that an epoch takes about a second. A column has the most
that lay on disk, in the folder of the study and that of temporary files, divided by the size of the
weights. With `--jit`, XLA compiles the models of both.
"""

import os
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from kerastune_optuna import OptunaTuner
from tests.benchmarks._sides import add_jit, command_line, report, timed, with_jit

TRIALS = 3  # of a search
LOOKS = 0.02  # seconds between two looks at what lies on disk


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


def mobile_net():
    network = keras.applications.MobileNetV2((32, 32, 1), weights=None, classes=10)
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


BUILDERS = {
    "MLP 64-32": lambda trial: mlp(64, 32),
    "CNN": lambda trial: cnn(),
    "MLP 1024-1024": lambda trial: mlp(1024, 1024),
    "MLP 4608-4608-1152": lambda trial: mlp(4608, 4608, 1152),  # 27 million parameters
    "MobileNetV2": lambda trial: mobile_net(),
}
ROWS = [
    *((model, epochs, 1437) for model in list(BUILDERS)[:3] for epochs in (2, 20)),
    ("MLP 4608-4608-1152", 5, 192),
    ("MobileNetV2", 5, 256),
]  # with how many epochs of how many digits


def train_plainly(build_model, fit, trials):
    """Train as one does without a tuner; return the seconds and the validation losses."""
    seconds, losses = 0, []
    for seed, epochs in trials:
        keras.utils.set_random_seed(seed)
        began = time.perf_counter()
        history = build_model(None).fit(**{**fit, "epochs": epochs})
        seconds += time.perf_counter() - began
        losses += history.history["val_loss"]
    return seconds, losses


def train_ours(build_model, fit):
    """Search; return the seconds, the losses, the seed and epochs of each trial, bytes on disk."""
    with tempfile.TemporaryDirectory() as folder, most_on_disk(folder) as found:
        options = {"n_trials": TRIALS, "directory": folder, "seed": 1}
        trials = OptunaTuner(build_model, "val_loss", **options).search(**fit).study.trials
    seconds = sum(trial.user_attrs["seconds"] for trial in trials)
    reports = [trial.intermediate_values for trial in trials]
    losses = [one[epoch] for one in reports for epoch in sorted(one)]
    # The pruner may end one: then the plain training has as many epochs.
    seeds = [trial.user_attrs["seed"] for trial in trials]
    return seconds, losses, list(zip(seeds, map(len, reports), strict=True)), max(found)


@contextmanager
def most_on_disk(folder):
    """Look what lies in a folder, where temporary files go too meanwhile, again and again."""
    found, ended, before = [], threading.Event(), tempfile.tempdir
    looking = threading.Thread(target=look, args=(folder, found, ended))
    tempfile.tempdir = folder
    looking.start()
    try:
        yield found
    finally:
        ended.set()
        looking.join()
        tempfile.tempdir = before


def look(folder, found, ended):
    """Note how many bytes lie in a folder until somebody says that it is over."""
    while not ended.wait(LOOKS):
        found.append(sum(file_size(path) for path in Path(folder).rglob("*")))


def file_size(path):
    """Return how many bytes a file takes, or none where it has just gone."""
    try:
        return path.stat().st_blocks * 512 if path.is_file() else 0
    except FileNotFoundError:
        return 0


def compare(model, epochs, digits, rounds, jit):
    """Return of each round the plain seconds, ours, the largest difference, and what lay on disk.

    The difference is that of the validation losses; what lay on disk is divided by the weights.
    """
    fit = {**data(model, digits), "epochs": epochs, "batch_size": 32, "verbose": 0}
    build = with_jit(BUILDERS[model]) if jit else BUILDERS[model]
    *_, trials, _ = train_ours(build, fit)  # it and the next are the warm-up
    train_plainly(build, fit, trials)
    weights = sum(variable.nbytes for variable in map(np.asarray, build(None).weights))
    found = []
    for number in range(rounds):
        if number % 2:  # each goes first in every second round
            ours, plain = train_ours(build, fit), train_plainly(build, fit, trials)
        else:
            plain, ours = train_plainly(build, fit, trials), train_ours(build, fit)
        difference = np.abs(np.subtract(plain[1], ours[1])).max()
        found.append((plain[0], ours[0], float(difference), ours[3] / weights))
    return found


def data(model, digits):
    """Return the digits in the shape that the model takes, so many of them for training."""
    from digits import load  # on the path of child processes alone

    x, x_val, y, y_val = load()
    if model == "MobileNetV2":
        x, x_val = (np.kron(images, np.ones((1, 4, 4, 1))) for images in (x, x_val))
    elif model != "CNN":
        x, x_val = x.reshape(-1, 64), x_val.reshape(-1, 64)
    held_out = digits // 4
    validation = (x_val[:held_out], y_val[:held_out])
    return {"x": x[:digits], "y": y[:digits], "validation_data": validation}


def row(model, epochs, digits, rounds, jit):
    """Measure one model; return its row of the table."""
    run = timed(("trainings:compare", model, epochs, digits, rounds, jit))
    plain, ours, differences, on_disk = zip(*run.answers[0], strict=True)
    ratio = statistics.median(one / other for one, other in zip(ours, plain, strict=True))
    for number, times in enumerate(zip(plain, ours, strict=True), 1):
        print(f"{model}, {epochs} epochs, round {number}: plain %.3f s, ours %.3f s" % times)
    print(f"{model}, {epochs} epochs: ratio {ratio:.3f}", flush=True)
    cells = [f"{statistics.median(times):.3f}" for times in (plain, ours)]
    cells += [f"{ratio:.3f}", f"{max(differences):.2g}", f"{max(on_disk):.2f}"]
    return [model, epochs, *cells]


def main():
    options = add_jit(command_line(__doc__, BUILDERS, rounds=5)).parse_args()
    header = ["model", "epochs", "plain fit, s", "ours, s", "ratio"]
    header += ["largest difference of val_loss", "most on disk, in weights"]
    report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna"],
        header,
        [row(*one, options.rounds, options.jit) for one in ROWS if one[0] in options.only],
    )


if __name__ == "__main__":
    main()
