"""What an animal of the zoo is, and how plain Keras trains it."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers as kl

SPARSE = "sparse_categorical_crossentropy"
EPOCHS = 3
ROWS = 96


@dataclass(frozen=True)
class Animal:
    """Hold a builder and the data that it is trained on.

    `data` returns the arguments of `search()` that hold data; functions among them are called anew
    for each plain training, with the trial where they take it.
    """

    build: Callable[[Any], Any]
    data: Callable[[], dict[str, Any]]
    objective: str = "val_loss"  # to be minimized
    fit: dict[str, Any] = field(default_factory=dict)  # further arguments
    evaluates: bool = True  # whether evaluate() of the validation data gives the objective

    @property
    def arguments(self):
        """What `search()` is called with, and `Model.fit` where functions are called."""
        return {"epochs": EPOCHS, **self.fit, **self.data()}


class Notes(keras.callbacks.Callback):
    """Note the logs of each epoch, and the weights that the best one was validated with."""

    def __init__(self, objective):
        super().__init__()
        self.rows, self.weights = [], []
        self._objective = objective
        self._validated = None

    def on_test_end(self, logs=None):
        """Note the weights before other callbacks hear of the validation's end."""
        self._validated = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        """Take a row; of equal values the first is the best."""
        values = [row[self._objective] for row in self.rows]
        self.rows.append(dict(logs or {}))
        if not values or self.rows[-1][self._objective] < min(values):
            self.weights = self._validated or self.model.get_weights()


def trained_plainly(animal, trial, seed):
    """Train an animal as its user would without a tuner, and return what was noted."""
    arguments = {name: opened(value, trial) for name, value in animal.arguments.items()}
    if isinstance(arguments["x"], tuple):
        arguments["x"], arguments["y"] = arguments["x"]
    keras.utils.set_random_seed(seed)
    if (torch := sys.modules.get("torch")) is not None:  # from which its loaders shuffle
        torch.manual_seed(seed)
    made = animal.build(trial)
    model, own = made if isinstance(made, tuple) else (made, {})
    notes = Notes(animal.objective)
    callbacks = [notes, *arguments.get("callbacks", ())]
    keywords = {**arguments, **own, "callbacks": callbacks, "verbose": 0}
    if hasattr(animal.build, "fit"):
        animal.build.fit(trial, model, **keywords)
    else:
        model.fit(**keywords)
    return notes


def opened(value, trial=None):
    """Return what a function gives that stands for data."""
    if not inspect.isroutine(value):
        return value
    return value(trial) if inspect.signature(value).parameters else value()


def compiled(model, trial, loss=SPARSE, metrics=("accuracy",), optimizer=None, **options):
    """Compile a model, with Adam where no other optimizer is given."""
    optimizer = optimizer or keras.optimizers.Adam(rate(trial))
    model.compile(optimizer, loss, metrics=list(metrics) or None, **options)
    return model


def rate(trial):
    return trial.suggest_float("lr", 1e-3, 1e-1, log=True)


def classifier(trial, inputs, seen, kind=keras.Model):
    """Return the functional model that tells the class of rows by what its layers have seen."""
    return compiled(kind(inputs, kl.Dense(3, activation="softmax")(seen)), trial)


def sequential(make, shape=None):
    """Return the builder of a classifier with such layers below its last one."""

    def build(trial):
        first = [] if shape is None else [keras.Input(shape)]
        last = kl.Dense(3, activation="softmax")
        return compiled(keras.Sequential([*first, *make(), last]), trial)

    return build


def split(x, y, rows=64):
    """Return the first rows to train on, and the others to validate with."""
    train, held_out = (
        keras.tree.map_structure(lambda array, part=part: array[part], (x, y))
        for part in (slice(rows), slice(rows, None))
    )
    return {"x": train[0], "y": train[1], "validation_data": held_out}


def on_inputs(function, data):
    """Return data with other inputs, which a function makes of those that there are."""
    x, *others = data["validation_data"]
    return {**data, "x": function(data["x"]), "validation_data": (function(x), *others)}


def on_targets(function, data):
    """Return data with other targets, which a function makes of those that there are."""
    x, y = data["validation_data"]
    return {**data, "y": function(data["y"]), "validation_data": (x, function(y))}


def for_itself(data):
    """Return the inputs of data as its targets, too."""
    held_out = data["validation_data"][0]
    return {"x": data["x"], "y": data["x"], "validation_data": (held_out, held_out)}


def generator():
    """Return the generator that all data comes from."""
    return np.random.default_rng(7)
