"""Tune transfer learning: train a new head on a frozen network, then fine-tune its last layers.

Run it as `python examples/fine_tuning.py imagenet`. Without `imagenet` the network comes untrained,
and nothing is downloaded.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kerastune_optuna import OptunaTuner


def load() -> list:
    """Return digits as pictures of 32 by 32 pixels in [-1, 1], as MobileNet knows them."""
    images, digits = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8, 1) / 8.0 - 1.0, np.ones((1, 4, 4, 3)))
    x, y = large[:500].astype("float32"), digits[:500]
    return train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)


class FineTuned:
    """Build a classifier on MobileNet, and train it in two phases.

    Args:
        weights: Those of MobileNet, as keras.applications takes them.
    """

    def __init__(self, weights: str | None) -> None:
        self.weights = weights

    def __call__(self, trial) -> keras.Model:
        """Return the network with its base frozen, compiled for the first phase."""
        base = keras.applications.MobileNet(
            (32, 32, 3), alpha=0.25, include_top=False, weights=self.weights
        )
        base = keras.Model(base.input, base.get_layer("conv_pw_2_relu").output, name="base")
        base.trainable = False
        trial.suggest_int("unfrozen", 3, 6, step=3)  # layers of the base
        trial.suggest_float("fine_rate", 1e-4, 1e-2, log=True)
        inputs = keras.Input((32, 32, 3))
        # Called so, BatchNormalization keeps the statistics that it came with, in both phases.
        features = keras.layers.Flatten()(base(inputs, training=False))
        features = keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5))(features)
        model = keras.Model(inputs, keras.layers.Dense(10, "softmax")(features))
        compile_model(model, trial.suggest_float("head_rate", 1e-3, 1e-1, log=True))
        return model

    def fit(self, trial, model, **arguments) -> keras.callbacks.History:
        """Train the head; then the last layers of the base with it, at a lower rate."""
        model.fit(**arguments)
        base = model.get_layer("base")
        base.trainable = True
        for layer in base.layers[: -trial.params["unfrozen"]]:
            layer.trainable = False
        compile_model(model, trial.params["fine_rate"])
        return model.fit(**arguments)


def compile_model(model, learning_rate) -> None:
    """Compile for a phase: only the optimizer differs, so that their values compare."""
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


def main() -> None:
    """Search, and evaluate the best model."""
    x_train, x_val, y_train, y_val = load()
    build_model = FineTuned("imagenet" if "imagenet" in sys.argv[1:] else None)
    tuner = OptunaTuner(build_model, "val_accuracy", n_trials=3, seed=0, study_name="fine_tuning")
    tuner.search(x_train, y_train, validation_data=(x_val, y_val), epochs=3)
    tuner.summary()
    print(f"Epochs of the phases: {tuner.best_trial.user_attrs['fits']}")
    _, accuracy = tuner.best_model().evaluate(x_val, y_val, verbose=0)
    print(f"Accuracy of the best model: {accuracy:.4f}")


if __name__ == "__main__":
    main()
