"""Look for networks that are accurate and small: the front of both, and one model from it.

Run it as `python examples/pareto.py`. No network of more than 10,000 parameters is trained, and one
is pruned when it falls behind another that is no larger.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kerastune_optuna import OptunaTuner


def build_model(trial) -> keras.Model:
    """Return the compiled network for the values that a trial suggests."""
    model = keras.Sequential([keras.Input((64,)), keras.layers.Rescaling(1 / 16)])
    for layer in range(trial.suggest_int("layers", 1, 2)):
        units = trial.suggest_int(f"units_{layer}", 2, 256, log=True)
        model.add(keras.layers.Dense(units, activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def main() -> None:
    """Search, and take the smallest network of the front that is accurate enough."""
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.2, random_state=0)
    tuner = OptunaTuner(
        build_model,
        objective=["val_accuracy", "n_params"],
        max_params=10_000,
        n_trials=10,
        seed=0,
        study_name="pareto",
    )
    tuner.search(x_train, y_train, validation_data=(x_val, y_val), epochs=5, batch_size=64)
    tuner.summary()
    good = [trial for trial in tuner.best_trials if trial.values[0] > 0.9]
    chosen = min(good, key=lambda trial: trial.values[1])
    _, accuracy = tuner.best_model(trial=chosen.number).evaluate(x_val, y_val, verbose=0)
    print(f"Trial {chosen.number}: accuracy {accuracy:.4f} with {chosen.values[1]:.0f} parameters")


if __name__ == "__main__":
    main()
