"""What search() is given goes to a HyperModel's own fit as it came."""

from __future__ import annotations

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna import ArgumentTypeError, from_keras_tuner
from tests.keras_tuner_builders import compiled

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = np.arange(16) % 3
QUIET = {"epochs": 1, "verbose": 0, "shuffle": False}


class Own(keras_tuner.HyperModel):
    """Be the base of models with a fit of their own."""

    def build(self, hp):
        """Ask for the model."""
        return compiled(keras.layers.Dense(hp.Int("units", 2, 40)))


class WithoutData(Own):
    """Load the data itself."""

    def fit(self, hp, model, callbacks, **kwargs):
        """Train on it."""
        return model.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, **QUIET)


class OwnNames(Own):
    """Take data under names of its own."""

    def fit(self, hp, model, train, val=None, callbacks=(), **kwargs):
        """Train on it."""
        x, y = train if isinstance(train, tuple) else (train, None)
        return model.fit(x, y, validation_data=val, callbacks=callbacks, **QUIET)


class Turned(Own):
    """Take the targets first."""

    def fit(self, hp, model, y, x, callbacks, **kwargs):
        """Train on it."""
        return model.fit(x, y, validation_split=0.5, callbacks=callbacks, **QUIET)


class LookedUp(Own):
    """Look the data up among the keywords."""

    def fit(self, hp, model, *args, **kwargs):
        """Train on it."""
        data, callbacks = (kwargs["x"], kwargs["y"]), kwargs["callbacks"]
        return model.fit(*data, validation_data=(X, Y), callbacks=callbacks, **QUIET)


class Number(Own):
    """Train on nothing."""

    def fit(self, hp, model, **kwargs):
        """Return a number."""
        return 0.5


DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
CALLS = {
    "no data": (WithoutData(), (), {}),
    "names": (OwnNames(), (), {"val": (X, Y), "train": (X, Y)}),
    "datasets": (OwnNames(), (), {"train": DATASET, "val": DATASET}),
    "positions": (OwnNames(), (DATASET, DATASET), {}),
    "position and name": (OwnNames(), (DATASET,), {"val": DATASET}),
    "turned": (Turned(), (), {"y": Y, "x": X}),
    "turned, by position": (Turned(), (X, Y), {}),
    "looked up": (LookedUp(), (), {"y": Y, "x": X}),
    "a number": (Number(), (), {}),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_fit_of_its_own_gets_what_search_got(make_tuner, call):
    """And needs no validation that we could see for an objective that it validates itself."""
    hypermodel, data, names = call
    tuner = make_tuner(from_keras_tuner(hypermodel), n_trials=1)
    tuner.search(*data, verbose=0, **names)
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"]


@pytest.mark.slow
def test_names_of_its_own_reach_workers(make_tuner):
    """As all data does."""
    tuner = make_tuner(from_keras_tuner(OwnNames()), n_trials=2)
    tuner.search(train=(X, Y), val=DATASET, n_workers=2, verbose=0)
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 2


@pytest.mark.slow
def test_a_fit_of_its_own_is_trained_again_without_data(make_tuner):
    """By confirm(), refit() and reproduce()."""
    tuner = make_tuner(from_keras_tuner(WithoutData()), n_trials=1).search(verbose=0)
    assert tuner.refit(verbose=0)[0].count_params()
    assert not tuner.reproduce(0)["difference"].any()
    assert len(tuner.confirm(1, 2, verbose=0).ranking) == 1


def test_a_builder_without_a_fit_needs_data(make_tuner):
    """What we train is checked as before."""
    tuner = make_tuner(from_keras_tuner(Own().build), "accuracy")
    with pytest.raises(ArgumentTypeError, match="x=None is no training data"):
        tuner.search()
    with pytest.raises(ArgumentTypeError, match="got 'train', which"):
        tuner.search(train=(X, Y))
