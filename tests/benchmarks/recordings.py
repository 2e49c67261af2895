"""Record the learning curves of three more kinds of networks with a tuner's grid search.

Run it from the repository: `python -m tests.benchmarks.recordings NAME...` trains some 150
configurations of 20 epochs each and writes the file of that name in the folder `curves`:

- `clothes`: images, from Debian's package `dataset-fashion-mnist`;
- `letters`: a table, from Debian's package `r-cran-mlbench`, which `Rscript` reads;
- `vowels`: sequences, from the folder `aeon/datasets/data/JapaneseVowels` of PyPI's `aeon`, which
  follows as `--vowels FOLDER`.

Some of their parameters are categorical, and some are asked for only with some values of others.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import optuna

from examples import fashion_mnist
from kerastune_optuna import OptunaTuner
from tests.benchmarks.pruners import CURVES, EPOCHS
from tests.benchmarks.spaces import SPACES

Rows = tuple[np.ndarray, np.ndarray]
_R = 'data(LetterRecognition, package = "mlbench"); write.csv(LetterRecognition, stdout())'


class Network(NamedTuple):
    """What it takes to record the curves of one kind of network."""

    load: Callable[[argparse.Namespace], tuple[Rows, Rows]]
    layers: Callable[[dict[str, Any]], list[keras.Layer]]
    shape: tuple[int | None, ...]
    n_classes: int


def load_clothes(given: argparse.Namespace) -> tuple[Rows, Rows]:
    """Return every other pixel of 2,000 images for training, and of 1,000 for validation."""
    train, validation, _ = fashion_mnist.load(2000, 1000)
    return tuple((x[:, ::2, ::2], y) for x, y in (train, validation))


def load_letters(given: argparse.Namespace) -> tuple[Rows, Rows]:
    """Return 3,000 rows of the table for training, and 2,000 for validation."""
    text = subprocess.run(["Rscript", "-e", _R], capture_output=True, text=True, check=True).stdout
    rows = list(csv.reader(text.splitlines()))[1:5001]
    x = np.array([row[2:] for row in rows], "float32") / 15
    y = np.array([ord(row[1]) - ord("A") for row in rows])
    return (x[:3000], y[:3000]), (x[3000:], y[3000:])


def load_vowels(given: argparse.Namespace) -> tuple[Rows, Rows]:
    """Return 270 series of 12 channels for training, and 370 for validation, padded with zeros."""
    return tuple(_series(given.vowels / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))


def _series(path: Path) -> Rows:
    lines = path.read_text().split("@data\n")[1].splitlines()
    x, y = np.zeros((len(lines), 29, 12), "float32"), np.zeros(len(lines), int)
    for row, line in enumerate(lines):
        *channels, label = line.split(":")
        for place, channel in enumerate(channels):
            values = [float(value) for value in channel.split(",") if value != "?"]
            x[row, : len(values), place] = values
        y[row] = int(label) - 1
    return x, y


def clothes(params: dict[str, Any]) -> list[keras.Layer]:
    """Return a convolutional network's layers."""
    layers: list[keras.Layer] = []
    for block in range(params["conv_layers"]):
        layers.append(keras.layers.Conv2D(params[f"filters_{block}"], 3, padding="same"))
        if params["batch_norm"]:
            layers.append(keras.layers.BatchNormalization())
        layers += [keras.layers.Activation("relu"), keras.layers.MaxPooling2D()]
    return [*layers, keras.layers.Flatten()]


def letters(params: dict[str, Any]) -> list[keras.Layer]:
    """Return the layers of a network for a table."""
    layers: list[keras.Layer] = []
    for block in range(params["layers"]):
        if block:
            layers.append(keras.layers.Dropout(params["dropout"]))
        layers.append(keras.layers.Dense(params["units"], activation=params["activation"]))
    return layers


def vowels(params: dict[str, Any]) -> list[keras.Layer]:
    """Return the layers of a network for sequences."""
    if params["cell"] == "conv":
        layer = keras.layers.Conv1D(params["units"], params["kernel"], activation="relu")
        return [layer, keras.layers.GlobalMaxPooling1D()]
    kind = keras.layers.GRU if params["cell"] == "gru" else keras.layers.LSTM
    layer = kind(params["units"], dropout=params["dropout"])
    return [keras.layers.Bidirectional(layer) if params["bidirectional"] else layer]


NETWORKS = {
    "clothes": Network(load_clothes, clothes, (14, 14, 1), 10),
    "letters": Network(load_letters, letters, (16,), 26),
    "vowels": Network(load_vowels, vowels, (29, 12), 9),
}


def builder(name: str) -> Callable[[optuna.Trial], keras.Model]:
    """Return the builder of a kind of network."""
    network = NETWORKS[name]

    def build_model(trial: optuna.Trial) -> keras.Model:
        """Build the network of one configuration."""
        params = SPACES[name](trial)
        head = keras.layers.Dense(network.n_classes, activation="softmax")
        model = keras.Sequential([keras.Input(network.shape), *network.layers(params), head])
        kind = keras.optimizers.SGD if params.get("optimizer") == "sgd" else keras.optimizers.Adam
        model.compile(
            kind(params["learning_rate"]), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        return model

    return build_model


def record(name: str, given: argparse.Namespace) -> None:
    """Train each configuration once, and write the curves."""
    train, validation = NETWORKS[name].load(given)
    with tempfile.TemporaryDirectory() as folder:
        tuner = OptunaTuner(
            builder(name), n_trials=None, sampler="grid", pruner="none", seed=0, directory=folder
        )
        tuner.search(*train, validation_data=validation, epochs=EPOCHS, batch_size=128, verbose=2)
        trials = tuner.study.trials
    rows = [
        {
            "params": SPACES[name](trial),
            "curve": [round(value, 4) for value in trial.intermediate_values.values()],
        }
        for trial in trials
    ]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (CURVES / f"{name}.json").write_text(f'{{"curves":[\n{lines}\n]}}\n')


def main() -> None:
    """Record what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(NETWORKS))
    parser.add_argument("--vowels", type=Path, help="folder of JapaneseVowels_TRAIN.ts")
    given = parser.parse_args()
    for name in given.names:
        record(name, given)


if __name__ == "__main__":
    main()
