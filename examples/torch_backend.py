"""Tune a small network on handwritten digits with Keras's PyTorch backend and a DataLoader.

Run it as `python examples/torch_backend.py`, after `pip install "kerastune_optuna[torch]"`.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # which Keras reads when it is first imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

from kerastune_optuna import OptunaTuner


def load() -> tuple[DataLoader, DataLoader]:
    """Return loaders of digits, 64 of 8 by 8 pixels at a time: one to train, one to validate."""
    images, digits = load_digits(return_X_y=True)
    dataset = TensorDataset(torch.tensor(images / 16.0).float(), torch.tensor(digits))
    training, validation = random_split(dataset, [0.8, 0.2], torch.Generator().manual_seed(0))
    return DataLoader(training, batch_size=64, shuffle=True), DataLoader(validation, batch_size=64)


def build_model(trial) -> keras.Model:
    """Return the compiled network for the values that a trial suggests."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(trial.suggest_int("units", 16, 64, step=8), activation="relu"),
            keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    """Search, and evaluate the best model."""
    training, validation = load()
    tuner = OptunaTuner(build_model, "val_accuracy", n_trials=10, seed=0, study_name="torch")
    tuner.search(training, validation_data=validation, epochs=5)
    tuner.summary(5)
    _, accuracy = tuner.best_model().evaluate(validation, verbose=0)
    print(f"Accuracy of the best model: {accuracy:.4f}, trained with {keras.backend.backend()}")


if __name__ == "__main__":
    main()
