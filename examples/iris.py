"""Tune a small network for Iris: its two layer widths, their activation and the learning rate.

Run it as `python examples/iris.py`. It trains the network with values chosen by hand, searches 30
configurations, and sets both accuracies side by side.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
import tensorflow as tf
import tensorflow_datasets as tfds

from kerastune_optuna import OptunaTuner

DATA = Path(__file__).parent / "data"  # iris as TFDS prepares it, so that no network is needed
EPOCHS = 10


def load_iris() -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Return 120 flowers to train on and 30 to validate with, in batches of 10."""
    train, test = tfds.load(
        "iris", split=["train[:80%]", "train[80%:]"], as_supervised=True, data_dir=DATA
    )

    def one_hot(features: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return features, tf.one_hot(label, 3)

    return train.map(one_hot).shuffle(120).batch(10), test.map(one_hot).batch(10)


def network(l1_neurons: int, l2_neurons: int, activation: str, rate: float) -> keras.Model:
    """Return the compiled network with two hidden layers."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(l1_neurons, activation=activation),
            keras.layers.Dense(l2_neurons, activation=activation),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="categorical_crossentropy",
        metrics=["categorical_accuracy"],
    )
    return model


def build_model(trial) -> keras.Model:
    """Return the network for the values that a trial suggests."""
    return network(
        trial.suggest_int("l1_neurons", 16, 64),
        trial.suggest_int("l2_neurons", 4, 16),
        trial.suggest_categorical("activation", ["sigmoid", "relu"]),
        trial.suggest_float("learning_rate", 0.001, 0.01),
    )


def main() -> None:
    """Train the network as it was, search, and compare."""
    keras.utils.set_random_seed(7)
    ds_train, ds_test = load_iris()

    default = network(l1_neurons=32, l2_neurons=8, activation="sigmoid", rate=0.001)
    # shuffle=False: the dataset shuffles itself, and Keras would warn about its own default, True.
    default.fit(ds_train, epochs=EPOCHS, shuffle=False, verbose=0)
    _, default_accuracy = default.evaluate(ds_test, verbose=0)
    print(f"Accuracy with values chosen by hand: {default_accuracy:.4f}")

    with tempfile.TemporaryDirectory() as directory:  # your own search keeps its directory
        tuner = OptunaTuner(
            build_model,
            objective="val_categorical_accuracy",
            n_trials=30,
            seed=7,
            directory=directory,
            study_name="iris",
        )
        tuner.search(ds_train, validation_data=ds_test, epochs=EPOCHS)
        tuner.summary()
        table = tuner.results()
        print(
            table[["number", "state", "value", "best_epoch", "epochs_run"]].to_string(index=False)
        )
        print(f"{len(table)} trials: {table['state'].value_counts().to_dict()}")
        print(f"Best parameters: {tuner.best_params}")
        _, tuned_accuracy = tuner.best_model().evaluate(ds_test, verbose=0)
        print(f"Accuracy by hand {default_accuracy:.4f}, tuned {tuned_accuracy:.4f}")


if __name__ == "__main__":
    main()
