"""Guides of KerasTuner run with this package as they are printed, but for a table of names.

Each function that takes `kt` is a part of one, for small data, as
https://keras.io/keras_tuner/guides and https://www.tensorflow.org/tutorials/keras/keras_tuner have
them. It returns what KerasTuner and this package must agree on. Layers have seeds, and nothing is
shuffled, so that two trainings of one configuration come to one value.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import keras
import keras_tuner
import numpy as np
import pytest
from keras import layers

import kerastune_optuna
from kerastune_optuna import HyperParameters, OptunaTuner, from_keras_tuner

# KerasTuner says so of each model that it loads.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")

# What a user of KerasTuner renames, besides the import.
ARGUMENTS = {
    "max_trials": "n_trials",
    "project_name": "study_name",
    "max_consecutive_failed_trials": "max_failed_trials",
}
TUNERS = {
    "RandomSearch": {"sampler": "random", "pruner": "none"},
    "GridSearch": {"sampler": "grid", "pruner": "none"},
    "Hyperband": {"pruner": "hyperband", "n_trials": 2},
}
NO_COUNTERPART = {"max_retries_per_trial", "factor"}


class Theirs:
    """Give KerasTuner's names, and remember the tuner that is made of them."""

    HyperParameters, errors = keras_tuner.HyperParameters, keras_tuner.errors

    def __init__(self):
        for name in TUNERS:
            setattr(self, name, functools.partial(self._make, getattr(keras_tuner, name)))

    def _make(self, kind, *args, **settings):
        self.tuner = kind(*args, seed=1, **settings)
        return self.tuner

    def trials(self):
        """Return state, values and score of each trial."""
        states, oracle = {"COMPLETED": "COMPLETE", "FAILED": "FAIL"}, self.tuner.oracle
        trials = [oracle.trials[trial_id] for trial_id in oracle.start_order]
        return [(states[one.status], one.hyperparameters.values, one.score) for one in trials]


class Ours:
    """Give this package's names in their place.

    Args:
        queue: The values that the first trials are to have, so that they can be compared with
            KerasTuner's: the samplers of the two draw other numbers.
    """

    HyperParameters, errors = HyperParameters, kerastune_optuna

    def __init__(self, queue=()):
        self._queue = queue
        for name, settings in TUNERS.items():
            setattr(self, name, functools.partial(self._make, **settings))

    def _make(self, hypermodel, objective, max_epochs=None, overwrite=False, **settings):
        named = {ARGUMENTS.get(name, name): settings[name] for name in {*settings} - NO_COUNTERPART}
        named |= {"overwrite": overwrite and not self._queue, "seed": 1, "keep_best": 2}
        self.tuner = OptunaTuner(from_keras_tuner(hypermodel), objective, **named)
        for values in self._queue:  # by Optuna, since KerasTuner has values that no trial asks for
            self.tuner.study.enqueue_trial(values)
        return Renamed(self.tuner, max_epochs)

    def trials(self):
        """Return state, values and value of each trial."""
        trials = self.tuner.study.trials
        return [(one.state.name, HyperParameters(one).values, one.value) for one in trials]


class Renamed:
    """Answer to KerasTuner's names for results by ours."""

    def __init__(self, tuner, epochs):
        self.epochs = epochs
        self.results_summary, self.search_space_summary = tuner.summary, tuner.space
        self.get_best_models, self._tuner = tuner.best_models, tuner

    def search(self, *args, epochs, **kwargs):
        """Search as ours does, for KerasTuner's number of epochs where the tuner has it."""
        self._tuner.search(*args, epochs=self.epochs or epochs, **kwargs)

    def get_best_hyperparameters(self, num_trials=1):
        """Return the hyperparameters of our best trials."""
        return [HyperParameters(trial) for trial in self._tuner.top_trials(num_trials)]


FITS = []  # a number for each training since the list was last emptied


class Sequential(keras.Sequential):
    """Count the trainings of a model."""

    def fit(self, *args, **kwargs):
        """Train as ever."""
        FITS.append(len(FITS))
        return super().fit(*args, **kwargs)


def images(n):
    """Return images of 4 by 4 pixels, and the one of three classes in which each is."""
    x = np.random.default_rng(n).random((n, 4, 4, 1)).astype("float32")
    return x, (x.mean(axis=(1, 2, 3)) * 6).astype(int) % 3


X, Y = images(32)
X_VAL, Y_VAL = images(16)
ONE_HOT, ONE_HOT_VAL = (keras.utils.to_categorical(y, 3) for y in (Y, Y_VAL))
FIT = {"epochs": 2, "batch_size": 16, "shuffle": False, "verbose": 0}
NEW = {"overwrite": True, "directory": "my_dir", "project_name": "helloworld"}


def dense(units, activation=None):
    """Return a layer that begins with the same weights each time."""
    start = keras.initializers.GlorotUniform(seed=units)
    return layers.Dense(units, activation, kernel_initializer=start)


def compiled(model, optimizer="adam", loss="categorical_crossentropy", metrics=("accuracy",)):
    """Compile a model without a graph, whose tracing would take most of a test's time."""
    model.compile(optimizer, loss, metrics=list(metrics), run_eagerly=True)
    return model


def first_search(kt):
    """Getting started: the architecture is tuned, and the best model trained again."""

    def build_model(hp):
        model = Sequential([layers.Flatten()])
        for i in range(hp.Int("num_layers", 1, 3)):
            units = hp.Int(f"units_{i}", min_value=4, max_value=32, step=4)
            model.add(dense(units, hp.Choice("activation", ["relu", "tanh"])))
        if hp.Boolean("dropout"):
            model.add(layers.Dropout(0.25, seed=1))
        model.add(dense(3, "softmax"))
        rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
        return compiled(model, keras.optimizers.Adam(learning_rate=rate))

    hp = kt.HyperParameters()
    build_model(hp)
    assert hp.Int("units", min_value=4, max_value=32, step=4) == 4
    tuner = kt.RandomSearch(
        build_model, objective="val_loss", max_trials=2, executions_per_trial=2, **NEW
    )
    tuner.search_space_summary()
    tuner.search(X, ONE_HOT, validation_data=(X_VAL, ONE_HOT_VAL), **FIT)
    models = tuner.get_best_models(2)
    losses = [model.evaluate(X_VAL, ONE_HOT_VAL, verbose=0)[0] for model in models]
    tuner.results_summary()
    best_hps = tuner.get_best_hyperparameters(2)
    model = build_model(best_hps[0])
    model.fit(np.concatenate((X, X_VAL)), np.concatenate((ONE_HOT, ONE_HOT_VAL)), **FIT)
    return [losses, [[hp.get("num_layers"), hp.get("units_0"), hp.get("lr")] for hp in best_hps]]


def marked_as_failed(kt):
    """Failed trials: FailedTrialError marks a trial as failed."""

    def build_model(hp):
        units = hp.Int("units_1", 2, 6, step=4), hp.Int("units_2", 2, 4, step=2)
        model = Sequential([keras.Input((20,)), *map(dense, units), dense(1)])
        compiled(model, loss="mse", metrics=())
        n_params = model.count_params()
        if n_params > 150:
            raise kt.errors.FailedTrialError(f"Model too large! It contains {n_params} params.")
        return model

    failing = {"max_retries_per_trial": 1, "max_consecutive_failed_trials": 8}
    tuner = kt.GridSearch(hypermodel=build_model, objective="val_loss", **failing, **NEW)
    rng = np.random.default_rng(0)
    x, y = rng.random((48, 20)), rng.random((48, 1))
    tuner.search(x=x[:32], y=y[:32], validation_data=(x[32:], y[32:]), **FIT)
    tuner.results_summary()


def hyperband_tutorial(kt):
    """TensorFlow's tutorial: Hyperband, then the best configuration again; its trainings."""

    def model_builder(hp):
        model = Sequential([keras.Input((4, 4, 1)), layers.Flatten()])
        model.add(dense(hp.Int("units", min_value=4, max_value=32, step=4), "relu"))
        model.add(dense(3))
        rate = hp.Choice("learning_rate", values=[1e-2, 1e-3, 1e-4])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return compiled(model, keras.optimizers.Adam(learning_rate=rate), loss)

    tuner = kt.Hyperband(model_builder, objective="val_accuracy", max_epochs=2, factor=2, **NEW)
    stop_early = keras.callbacks.EarlyStopping(monitor="val_loss", patience=5)
    tuner.search(X, Y, validation_split=0.25, callbacks=[stop_early], **FIT)
    best_hps = tuner.get_best_hyperparameters(num_trials=1)[0]
    assert best_hps.get("units") in range(4, 33, 4)
    model = model_builder(best_hps)
    model.fit(X, Y, validation_split=0.25, **FIT)
    return 1


class Came(NamedTuple):
    """Hold what a guide returned, its trials, and how often it trained."""

    returned: object
    trials: list
    trainings: int


def run(guide, names, folder, monkeypatch):
    """Return what a guide comes to in a folder of its own."""
    (here := folder / type(names).__name__).mkdir()
    monkeypatch.chdir(here)
    FITS.clear()
    returned = guide(names)
    return Came(returned, names.trials(), len(FITS))


def close(values):
    """Return values that others may differ from by the rounding of float32."""
    if isinstance(values, dict):
        return {name: close(value) for name, value in values.items()}
    if isinstance(values, list):
        return [close(value) for value in values]
    is_text = values is None or isinstance(values, str | bool)
    return values if is_text else pytest.approx(values, rel=1e-4)


@pytest.mark.slow
def test_a_guide_comes_to_the_same(tmp_path, monkeypatch):
    """Given the configurations that KerasTuner drew: states, values, results and trainings."""
    theirs = run(first_search, Theirs(), tmp_path, monkeypatch)
    queue = [values for _, values, _ in theirs.trials]
    ours = run(first_search, Ours(queue), tmp_path, monkeypatch)
    pairs = zip(ours.trials, theirs.trials, strict=True)
    assert [agreeing(*pair) for pair in pairs] == ours.trials
    assert ours.returned == close(theirs.returned)
    assert ours.trainings == theirs.trainings


def agreeing(here, there):
    """Return KerasTuner's trial, with those values that ours asked for: it has others as well."""
    return there[0], close({name: there[1][name] for name in here[1]}), close(there[2])


@pytest.mark.nightly
def test_a_grid_comes_to_the_same(tmp_path, monkeypatch):
    """The same configurations fail, and the others have the same values, in any order."""
    theirs = run(marked_as_failed, Theirs(), tmp_path, monkeypatch)
    ours = run(marked_as_failed, Ours(), tmp_path, monkeypatch)
    assert by_values(ours) == [(*one, close(value)) for *one, value in by_values(theirs)]
    assert ours.trainings == theirs.trainings


def by_values(came):
    """Return the trials in the order of their configurations."""
    return sorted((sorted(values.items()), state, value) for state, values, value in came.trials)


@pytest.mark.nightly
def test_hyperband_runs(tmp_path, monkeypatch):
    """Its brackets are others; each trial is trained once, and none fails."""
    for names in (Theirs(), Ours()):
        came = run(hyperband_tutorial, names, tmp_path, monkeypatch)
        assert {state for state, *_ in came.trials} <= {"COMPLETE", "PRUNED"}
        assert came.trainings - came.returned == len(came.trials) > 0
