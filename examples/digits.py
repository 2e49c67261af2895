"""Tune a small convolutional network on scikit-learn's handwritten digits, and prune weak trials.

Run it as `python examples/digits.py`. Run it again, and it goes on where it stopped: the study lies
in the folder `tuning`.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kerastune_optuna import OptunaTuner


def load() -> tuple:
    """Return images of 8 by 8 pixels in [0, 1] and their digits, split for validation."""
    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1) / 16.0
    return train_test_split(images, digits, test_size=0.2, random_state=0, stratify=digits)


def build_model(trial) -> keras.Model:
    """Return the compiled network for the values that a trial suggests."""
    model = keras.Sequential([keras.Input((8, 8, 1))])
    for layer in range(trial.suggest_int("conv_layers", 1, 2)):
        filters = trial.suggest_int(f"filters_{layer}", 8, 32, step=8)
        model.add(keras.layers.Conv2D(filters, 3, padding="same", activation="relu"))
    model.add(keras.layers.MaxPooling2D())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    """Search, and evaluate the best model."""
    x_train, x_val, y_train, y_val = load()
    tuner = OptunaTuner(build_model, "val_accuracy", n_trials=15, seed=0, study_name="digits")
    tuner.search(x_train, y_train, validation_data=(x_val, y_val), epochs=8, batch_size=64)
    tuner.summary(5)
    _, accuracy = tuner.best_model().evaluate(x_val, y_val, verbose=0)
    print(f"Best parameters: {tuner.best_params}")
    print(f"Accuracy of the best model: {accuracy:.4f}")


if __name__ == "__main__":
    main()
