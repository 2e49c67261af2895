"""Record the learning curves of networks with one to three layers, each with parameters of its own.

`python -m tests.benchmarks.recordings NAME` trains each configuration for 20 epochs, and writes the
file NAME.json in the folder `curves`: `deep_digits` of scikit-learn's digits, or `deep_vowels` of
the folder `aeon/datasets/data/JapaneseVowels` of PyPI's `aeon`, which follows as `--vowels FOLDER`.
"""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np

from kerastune_optuna import OptunaTuner
from tests.benchmarks._sides import command_line
from tests.benchmarks.spaces import CURVES, SPACES

EPOCHS = 20


def digits(_):
    """Return images for training and for validation, as rows."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x / 16.0, y, test_size=0.4, random_state=0, stratify=y)
    return (x, y), (x_val, y_val)


def vowels(folder):
    """Return 270 series of 12 channels for training, and 370 for validation, as rows."""
    return [_series(folder / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST")]


def _series(path):
    lines = path.read_text().split("@data\n")[1].splitlines()
    x, y = np.zeros((len(lines), 12, 29), "float32"), np.zeros(len(lines), int)
    for row, line in enumerate(lines):
        *channels, label = line.split(":")
        for place, channel in enumerate(channels):
            values = [float(value) for value in channel.split(",") if value != "?"]
            x[row, place, : len(values)] = values
        y[row] = int(label) - 1
    return x.reshape(len(x), -1), y


DATA = {"deep_digits": digits, "deep_vowels": vowels}


def build_model(trial):
    """Build the network of one configuration."""
    params = SPACES["deep_digits"](trial)
    layers = []
    for number in range(params["layers"]):
        layers.append(keras.layers.Dense(params[f"units_{number}"], activation="relu"))
        layers.append(keras.layers.Dropout(params[f"dropout_{number}"]))
    model = keras.Sequential([*layers, keras.layers.Dense(10, activation="softmax")])
    rate = keras.optimizers.Adam(params["learning_rate"])
    model.compile(rate, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main():
    parser = command_line(__doc__)
    parser.add_argument("name", choices=DATA)
    parser.add_argument("--vowels", type=Path, help="folder of JapaneseVowels_TRAIN.ts")
    given = parser.parse_args()
    (x, y), validation = DATA[given.name](given.vowels)
    options = {"n_trials": None, "sampler": "grid", "pruner": "none", "keep_best": 0, "seed": 0}
    with tempfile.TemporaryDirectory() as folder:
        tuner = OptunaTuner(build_model, directory=folder, **options)
        tuner.search(x, y, validation_data=validation, epochs=EPOCHS, batch_size=128, verbose=2)
        rows = [
            {
                "params": SPACES[given.name](trial),
                "curve": [round(value, 4) for value in trial.intermediate_values.values()],
            }
            for trial in tuner.study.trials
        ]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (CURVES / f"{given.name}.json").write_text(f'{{"curves":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
