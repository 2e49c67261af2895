"""Tune a convolutional network on images of clothes, and test the best one on images nobody saw.

Run it as `python examples/fashion_mnist.py`. It reads Fashion-MNIST from Debian's package
`dataset-fashion-mnist` (31 MB, MIT licence); elsewhere Keras downloads it once. Run it again, and
it goes on where it stopped: the study lies in the folder `tuning`.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
import numpy as np

from kerastune_optuna import OptunaTuner

FOLDER = Path("/usr/share/datasets/fashion-mnist")  # `apt install dataset-fashion-mnist`
TRAIN, VALIDATION = 10_000, 5_000


def read(name: str, header: int) -> np.ndarray:
    """Return the bytes of a file of the data set, without its header."""
    with gzip.open(FOLDER / f"{name}-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def read_all() -> tuple:
    """Return images and labels for training, and images and labels for the test."""
    if not FOLDER.exists():
        return keras.datasets.fashion_mnist.load_data()
    return tuple(
        (read(f"{part}-images-idx3", 16).reshape(-1, 28, 28), read(f"{part}-labels-idx1", 8))
        for part in ("train", "t10k")
    )


def load(train: int = TRAIN, validation: int = VALIDATION) -> tuple:
    """Return three pairs of images in [0, 1] and labels: for training, validation and the test."""
    (images, labels), (images_test, labels_test) = read_all()
    x, x_test = (part[..., None].astype("float32") / 255 for part in (images, images_test))
    split = slice(train), slice(train, train + validation)
    return *((x[rows], labels[rows]) for rows in split), (x_test, labels_test)


def build_model(trial) -> keras.Model:
    """Return the compiled network for the values that a trial suggests."""
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for block in range(2):
        filters = trial.suggest_int(f"filters_{block}", 8, 32, step=8)
        model.add(keras.layers.Conv2D(filters, 3, padding="same", use_bias=False))
        if trial.suggest_categorical("batch_norm", [True, False]):
            model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation("relu"))
        model.add(keras.layers.MaxPooling2D())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)))
    model.add(keras.layers.Dense(trial.suggest_int("units", 32, 128, step=32), activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    """Search, and test the best model."""
    train, validation, test = load()
    tuner = OptunaTuner(build_model, "val_accuracy", n_trials=20, seed=0, study_name="clothes")
    tuner.search(*train, validation_data=validation, epochs=12, batch_size=64)
    tuner.summary(5)
    _, accuracy = tuner.best_model().evaluate(*test, verbose=0)
    print(f"Best parameters: {tuner.best_params}")
    print(f"Accuracy on {len(test[0])} images that no trial saw: {accuracy:.4f}")


if __name__ == "__main__":
    main()
