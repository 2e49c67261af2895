"""Move a search from KerasTuner: the HyperModel stays as it is, only the tuner changes.

Run it as `python examples/from_keras_tuner.py`. KerasTuner need not be installed: this HyperModel
would inherit from `keras_tuner.HyperModel` there, and may go on to do so.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from kerastune_optuna import HyperParameters, OptunaTuner, from_keras_tuner


class Iris:
    """Tune a network, the optimizer that it needs, and the size of its batches."""

    def build(self, hp) -> keras.Model:
        """Return the compiled network."""
        model = keras.Sequential([keras.Input((4,))])
        for layer in range(hp.Int("layers", 1, 2)):
            units = hp.Int(f"units_{layer}", 8, 64, step=2, sampling="log")
            model.add(keras.layers.Dense(units, hp.Choice("activation", ["relu", "tanh"])))
        model.add(keras.layers.Dense(3, "softmax"))
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
        optimizer = keras.optimizers.Adam(rate)
        if hp.Choice("optimizer", ["adam", "sgd"]) == "sgd":
            with hp.conditional_scope("optimizer", ["sgd"]):
                momentum = hp.Float("momentum", 0.0, 0.9, step=0.3)
            optimizer = keras.optimizers.SGD(rate, momentum=momentum)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, **kwargs) -> keras.callbacks.History:
        """Train with batches of a tuned size."""
        return model.fit(*args, batch_size=hp.Choice("batch_size", [8, 16, 32]), **kwargs)


def main() -> None:
    """Search, and evaluate the best model."""
    x, y = load_iris(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, random_state=0, stratify=y)
    # In KerasTuner: BayesianOptimization(Iris(), "val_accuracy", max_trials=6, seed=0,
    #                                     project_name="iris")
    tuner = OptunaTuner(
        from_keras_tuner(Iris()), "val_accuracy", n_trials=6, seed=0, study_name="iris"
    )
    tuner.search(x_train, y_train, validation_data=(x_val, y_val), epochs=5)
    tuner.summary(5)  # results_summary()
    hp = HyperParameters(tuner.best_trial)  # get_best_hyperparameters()[0]
    model = tuner.best_model()  # get_best_models()[0]
    print(f"Best batch size: {hp.get('batch_size')}, of {hp.values}")
    print(f"Accuracy of the best model: {model.evaluate(x_val, y_val, verbose=0)[1]:.4f}")


if __name__ == "__main__":
    main()
