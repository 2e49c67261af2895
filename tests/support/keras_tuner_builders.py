"""Builders in KerasTuner's vocabulary, as its users write them."""

import keras
import keras_tuner
import numpy as np

from tests.support.untrained import Untrained, X

ROWS = np.zeros((4, 4))
DATA = {"x": ROWS, "y": X, "validation_data": (ROWS, X)}


def compiled(*hidden, optimizer="adam"):
    """Return a classifier of four numbers with the given hidden layers."""
    model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(3, "softmax")])
    # Without a graph, whose tracing would take most of a test's time.
    options = {"metrics": ["accuracy"], "run_eagerly": True}
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    return model


class Quick(Untrained):
    """A model whose metric and loss are made up, and which KerasTuner's users may train."""

    def __init__(self, units, score=0.5, metric="accuracy"):
        names = ("loss", metric, "val_loss", f"val_{metric}")
        super().__init__(units, [dict.fromkeys(names, score)] * 10, columns=4)
        own = keras.metrics.MeanMetricWrapper(keras.metrics.mean_absolute_error, metric)
        self.compile("sgd", "mse", metrics=[own])

    def fit(self, x=None, y=None, *, callbacks=(), epochs=1, **_):
        """Call the callbacks, and return a History."""
        history = keras.callbacks.History()
        super().fit(callbacks=[*callbacks, history], epochs=epochs)
        return history


def possible(hyperparameter):
    """Return all values that KerasTuner can draw."""
    return {hyperparameter.prob_to_value(number / 2000) for number in range(2000)}


def plain(hp):
    """Ask for the three kinds that each tutorial begins with."""
    units = hp.Int("units", min_value=4, max_value=16, step=4, default=8)
    layer = keras.layers.Dense(units, hp.Choice("activation", ["relu", "tanh"]))
    rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
    return compiled(layer, optimizer=keras.optimizers.Adam(rate))


def depths(hp):
    layers = range(hp.Int("layers", 1, 3))
    return compiled(*[keras.layers.Dense(hp.Int(f"units_{i}", 2, 9, step=3)) for i in layers])


def branches(hp):
    """Ask for one thing or another, and for a third below that."""
    kind = hp.Choice("kind", ["dense", "wide", "none"])
    layers = []
    with hp.conditional_scope("kind", ["dense", "wide"]):
        units = hp.Int("units", 2, 6)
        if units is not None:
            layers.append(keras.layers.Dense(units))
        dropout = hp.Boolean("dropout")
        with hp.conditional_scope("dropout", True):
            rate = hp.Float("rate", 0.1, 0.5, step=0.1)
            if dropout:
                layers.append(keras.layers.Dropout(rate))
    with hp.conditional_scope("kind", "none"):
        assert (hp.Fixed("note", "linear") is None) == (kind != "none")
    assert ("units" in hp) == (kind != "none")
    return compiled(*layers)


def parents(hp):
    """Name the parent beside the range."""
    name = hp.Choice("optimizer", ["sgd", "adam"])
    momentum = hp.Float(
        "momentum", 0.0, 0.9, step=0.3, parent_name="optimizer", parent_values=["sgd"]
    )
    beta = hp.Choice("beta", [0.8, 0.9], parent_name="optimizer", parent_values="adam")
    assert hp.is_active("momentum") == (name == "sgd") == (momentum is not None)
    if name == "sgd":
        return compiled(optimizer=keras.optimizers.SGD(0.1, momentum=momentum))
    return compiled(optimizer=keras.optimizers.Adam(beta_1=beta))


def scopes(hp):
    """Give the same name in several scopes, and ask again for what is known."""
    layers = []
    for block in ("first", "second"):
        with hp.name_scope(block):
            hp.Int("units", 2, 4)
            with hp.name_scope("inner"):
                rate = hp.Float("rate", 0.0, 0.5, step=0.25)
            layers += [keras.layers.Dense(hp.get("units")), keras.layers.Dropout(rate)]
    assert hp["first/units"] == hp.values["first/units"] == hp.Int("first/units", 2, 4)
    assert "third/units" not in hp
    return compiled(*layers)


def same_names(hp):
    """Give one name to different things under different conditions."""
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        activation, units = hp.Choice("activation", ["relu", "tanh"]), hp.Int("units", 2, 4)
    if kind == "b":
        with hp.conditional_scope("kind", ["b"]):
            activation, units = hp.Choice("activation", ["selu", "elu"]), hp.Int("units", 8, 10)
    return compiled(keras.layers.Dense(units, activation))


class BatchSize(keras_tuner.HyperModel):
    """Tune how the model is trained, too."""

    def build(self, hp):
        """Ask for the model."""
        return Quick(hp.Int("units", 2, 4))

    def fit(self, hp, model, *args, **kwargs):
        """Ask for the batch size and the epochs."""
        return model.fit(
            *args,
            batch_size=hp.Choice("batch_size", [8, 16]),
            epochs=hp.Int("epochs", 1, 2),
            **kwargs,
        )


class OwnLoop(keras_tuner.HyperModel):
    """Train in a loop of its own that leaves the callbacks alone."""

    def build(self, hp):
        """Ask for the model."""
        return compiled(keras.layers.Dense(hp.Int("units", 2, 4)))

    def fit(self, hp, model, x, y, validation_data, **kwargs):
        """Return the metrics of the last step."""
        size = hp.Int("batch_size", 8, 24, step=8)
        for start in range(0, len(x), size):
            model.train_on_batch(x[start : start + size], y[start : start + size])
        loss, accuracy = model.evaluate(*validation_data, verbose=0)
        return {"val_loss": np.float64(loss), "val_accuracy": accuracy, "units": hp.get("units")}


FUNCTIONS = [plain, depths, branches, parents, scopes, same_names]
