"""Models that are built, saved and told of as any other, and whose training is made up."""

import keras
import numpy as np
from optuna.storages import InMemoryStorage

from kerastune_optuna import OptunaTuner

X = np.zeros((4, 1))
OBJECTIVES = ["val_mae", "n_params"]


class Untrained(keras.Sequential):
    """A model whose training hands the logs of a curve to the callbacks, and no more.

    It has three parameters for each unit, and one more. Its last bias is what the logs of an epoch
    begin with, so that its weights tell the epoch.
    """

    def __init__(self, units, curve, columns=1):
        layers = [keras.layers.Dense(units), keras.layers.Dense(1)]
        super().__init__([keras.Input((columns,)), *layers])
        self.curve = [dict(logs) for logs in curve]
        self.compile("sgd", "mse", metrics=["mae"])

    def fit(self, *, callbacks, epochs, **_):
        """Call the callbacks as Keras does."""
        calls = keras.callbacks.CallbackList(callbacks, model=self, epochs=epochs)
        self.stop_training = False
        calls.on_train_begin()
        for epoch, logs in enumerate(self.curve[:epochs]):
            if not self.stop_training:
                calls.on_epoch_begin(epoch)
                self.layers[-1].bias.assign(np.nan_to_num([next(iter(logs.values()))]))
                calls.on_epoch_end(epoch, dict(logs))
        calls.on_train_end()


class Noisy(Untrained):
    """A model whose training comes to a mean, and noise that the seed of the trial decides."""

    def __init__(self, mean, noise):
        super().__init__(1, [])
        self.mean, self.noise = mean, noise
        self.compile("sgd", "mse")

    def fit(self, *, callbacks, epochs, **_):
        """Hand the same noisy value to the callbacks at the end of each epoch."""
        value = self.mean + self.noise * np.random.normal()
        self.curve = [{"loss": value, "val_loss": value}] * epochs
        super().fit(callbacks=callbacks, epochs=epochs)

    def evaluate(self, *_, **__):
        """Say what there is to measure, without tracing anything."""
        return {"loss": self.mean}


def build(trial):
    """Return a model of 4 to 3,001 parameters, whose error falls to a level of its own."""
    units = trial.suggest_int("units", 1, 1000)
    level = trial.suggest_float("level", 0.0, 1.0)
    return Untrained(units, [{"val_mae": level + 0.1 / (epoch + 1)} for epoch in range(5)])


def run(tuner, **arguments):
    """Search quietly for five epochs a trial."""
    given = {"x": X, "y": X, "validation_data": (X, X), "epochs": 5, "verbose": 0}
    return tuner.search(**given | arguments)


def cheap():
    """Return options for a search of which only its study is looked at: it is in memory."""
    return {"keep_best": 0, "backup_every": None, "storage": InMemoryStorage()}


def has_best_weights(tuner):
    """Whether best_model() has the weights of the best epoch, where the objective is all logs."""
    bias = tuner.best_model().layers[-1].bias.numpy().item()
    return abs(bias - tuner.best_value) < 1e-6


def tuner_in(folder, build_model=build, objective=OBJECTIVES, **options):
    """Return a tuner that keeps its study in a folder."""
    options = {"seed": 0, "directory": folder, "study_name": "test", **options}
    return OptunaTuner(build_model, objective, **options)
