"""Recorded curves, and what their networks are asked for: each space is a tree of a few values."""

import json
from functools import partial
from pathlib import Path

CURVES = Path(__file__).parent / "curves"


class Recorded:
    """Replay the first epochs of networks that were trained once; all of them by default."""

    unit = 0.01  # of a regret: a point of accuracy

    def __init__(self, name, epochs=None):
        recorded = json.loads((CURVES / f"{name}.json").read_text())
        rows = recorded["curves"]
        self._curves = {frozenset(row["params"].items()): row["curve"][:epochs] for row in rows}
        self._space = SPACES.get(name) or partial(suggest, **recorded["grid"])
        self.name, self.epochs = name, max(map(len, self._curves.values()))
        self.best = max(map(max, self._curves.values()))
        self.training = self.epochs  # as long as its epochs, which here all take a second

    def timed(self, trial):
        """Return a curve, and the seconds of each of its epochs."""
        curve = self.curve(trial)
        return curve, [1.0] * len(curve)

    def curve(self, trial):
        """Ask for the parameters, and return the validation accuracy after each epoch."""
        return self.asked(trial)[1]

    def asked(self, trial):
        """Ask for the parameters, and return them with the curve."""
        params = self._space(trial)
        return params, self._curves[frozenset(params.items())]

    def rows(self):
        """Return the parameters of each configuration, as pairs, with its curve."""
        return self._curves.items()


def suggest(trial, **values):
    """Suggest one of the values of each: by its place if they are numbers, which have an order."""
    return {name: _suggest(trial, name, those) for name, those in values.items()}


def _suggest(trial, name, values):
    if isinstance(values[0], str | bool):
        return trial.suggest_categorical(name, values)
    return values[trial.suggest_int(name, 0, len(values) - 1)]


def clothes(trial):
    """Ask for a convolutional network: a second layer's filters, and each optimizer's rates."""
    params = suggest(trial, conv_layers=[1, 2], filters_0=[8, 16, 32], batch_norm=[False, True])
    params |= suggest(trial, optimizer=["adam", "sgd"])
    if params["conv_layers"] == 2:
        params |= suggest(trial, filters_1=[16, 32])
    rates = [1e-4, 5e-4, 2e-3, 1e-2] if params["optimizer"] == "adam" else [1e-3, 1e-2, 5e-2, 0.2]
    return params | {"learning_rate": _suggest(trial, f"rate_of_{params['optimizer']}", rates)}


def letters(trial):
    """Ask for a network of dense layers: several have dropout between them."""
    params = suggest(trial, layers=[1, 2, 3], units=[16, 64, 192], activation=["relu", "tanh"])
    params |= suggest(trial, learning_rate=[3e-4, 1e-3, 5e-3, 2e-2])
    return params | (suggest(trial, dropout=[0.0, 0.2, 0.4]) if params["layers"] > 1 else {})


def vowels(trial):
    """Ask for a network for sequences: a recurrent one, in two directions or not, or a filter."""
    params = suggest(trial, cell=["gru", "lstm", "conv"], units=[8, 24, 64])
    params |= suggest(trial, learning_rate=[1e-3, 3e-3, 1e-2, 3e-2])
    if params["cell"] == "conv":
        return params | suggest(trial, kernel=[2, 3, 5, 9])
    return params | suggest(trial, bidirectional=[False, True], dropout=[0.0, 0.3])


def deep(trial):
    """Ask for dense layers, each with units and dropout of its own."""
    params = suggest(trial, layers=[1, 2, 3], learning_rate=[5e-4, 3e-3])
    for number in range(params["layers"]):
        values = {f"units_{number}": [8, 32, 128], f"dropout_{number}": [0.0, 0.4]}
        params |= suggest(trial, **values)
    return params


SPACES = {"clothes": clothes, "letters": letters, "vowels": vowels}
SPACES |= {"deep_digits": deep, "deep_vowels": deep}
