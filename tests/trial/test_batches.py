"""Small arrays are trained on from batches that are made once, to the digits of plain Model.fit."""

import functools
import importlib.util
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers
from keras.src.trainers.data_adapters import array_data_adapter
from scipy import sparse

from kerastune_optuna._backend import set_all
from kerastune_optuna._trial import fast, training
from kerastune_optuna._trial.fast import batched

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends slice arrays without a pipeline"
)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 4)).astype("float32"), np.arange(50) % 3
WEIGHTS = RNG.uniform(size=50)
TRAINER = next(kind for kind in keras.Model.__mro__[1:] if "fit" in vars(kind))  # of the backend
VALIDATION = (X[:35], Y[:35])


def told(part):
    return np.asarray(part).tolist(), np.asarray(part).dtype


class Seen(keras.Sequential):
    """Note what reaches the steps, and train nothing."""

    def __init__(self, seen, eager=True):
        super().__init__([keras.Input((4,)), layers.Dense(3)])
        self.note = seen.append
        self.compile("sgd", "mse", run_eagerly=eager)

    def train_step(self, data):
        """Note a batch to train on."""
        self.note(["train", *map(told, keras.tree.flatten(data))])
        return {"loss": keras.ops.zeros(())}

    def test_step(self, data):
        """Note a batch to validate with."""
        self.note(["test", *map(told, keras.tree.flatten(data))])
        return {"loss": keras.ops.zeros(())}


def compiled(kind=keras.Sequential, **options):
    """Return a classifier, after a seed was set as for each training."""
    set_all(3)
    model = kind([keras.Input((4,)), layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


def seen_of(given):
    """Return what the steps of a training of three epochs see, with one seed."""
    seen = []
    set_all(3)
    Seen(seen).fit(**given, epochs=3, verbose=0)
    return seen


def batched_as_fit(keywords):
    """Return what fit is given, of which a training sees what it sees of the arrays."""
    set_all(3)
    given = batched(Seen([], eager=False), keywords)
    assert seen_of(given) == seen_of(keywords)
    return given


FORMS = {
    "an odd batch": {"y": Y, "validation_data": VALIDATION},
    "even batches": {"x": X[:48], "y": Y[:48], "batch_size": 16},
    "one batch": {"y": Y, "batch_size": 50, "validation_data": VALIDATION},
    "a batch too large": {"y": Y, "batch_size": 99},
    "a split": {"y": Y, "validation_split": 0.2},
    "a split with weights": {"y": Y, "sample_weight": WEIGHTS, "validation_split": 0.3},
    "weights": {"y": Y, "sample_weight": WEIGHTS, "validation_data": (*VALIDATION, WEIGHTS[:35])},
    "weights of classes": {"y": Y, "class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    "two sizes": {"y": Y, "validation_data": VALIDATION, "validation_batch_size": 20},
    "in order": {"y": Y, "shuffle": False},
    "batches shuffled": {"y": Y, "shuffle": "batch", "batch_size": 9},
    "other types": {"x": X.astype("float64"), "y": Y.astype("int8")},
    "every other epoch": {"y": Y, "validation_data": VALIDATION, "validation_freq": 2},
    "two inputs": {"x": {"left": X, "right": X[::-1]}, "y": {"kind": Y, "size": X[:, :1]}},
    "no targets": {"validation_data": X[:35]},
    "one hot": {"y": np.eye(3, dtype="float32")[Y]},
    "tensors": {"x": keras.ops.convert_to_tensor(X), "y": keras.ops.convert_to_tensor(Y)},
    "tables": {"x": pd.DataFrame(X), "y": pd.Series(Y)},
}


def is_dataset(data):
    return isinstance(data, tf.data.Dataset)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_batches_are_those_of_plain_fit(form):
    """Each form of arrays gives the steps the same batches in the same order, and none is left."""
    given = batched_as_fit({"x": X, **form})
    assert is_dataset(given["x"])
    assert is_dataset(given.get("validation_data")) == ("validation" in "".join(form))


STAYING = {
    "some steps": {"steps_per_epoch": 1},
    "some steps of validation": {"validation_steps": 1},
    "a generator": {"x": (X[i : i + 5] for i in range(3)), "y": None},
    "sparse rows": {"x": sparse.csr_matrix(X)},
    "ragged rows": {"x": tf.ragged.constant([[1, 2], [3]] * 25)},
    "texts": {"x": tf.constant([["a"], ["b"]] * 25)},
    "many batches": {"x": np.zeros((2001, 4)), "y": np.zeros(2001), "batch_size": 1},
    "no rows": {"x": X[:0], "y": Y[:0]},
}


@pytest.mark.parametrize("news", STAYING.values(), ids=STAYING)
def test_what_is_no_whole_array_or_gains_nothing_stays(news):
    """What has no whole batches of one shape, or very many, goes to Keras as it came."""
    keywords = {"x": X, "y": Y, "epochs": 3, **news}
    given = batched(compiled(), keywords)
    assert given["x"] is keywords["x"]
    assert given["y"] is keywords["y"]


class OwnFit(keras.Sequential):
    """Look at the arrays before they are trained on."""

    def fit(self, x=None, y=None, **arguments):
        """Count the rows."""
        assert len(x) == len(y) == 50
        return super().fit(x, y, **arguments)


def wrapped():
    """Return a model whose fit a tracker has replaced."""
    model = compiled()
    model.fit = lambda **keywords: None
    return model


@pytest.mark.parametrize(
    "make", [lambda: compiled(run_eagerly=True), lambda: compiled(OwnFit), wrapped]
)
def test_models_that_train_in_another_way_get_arrays(make):
    """Nothing is changed for a model with a fit of its own, or that runs without a graph."""
    model = make()
    given = batched(model, {"x": X, "y": Y, "epochs": 1, "verbose": 0})
    assert given["x"] is X
    model.fit(**given)


def test_a_fit_that_somebody_wrapped_gets_arrays(monkeypatch):
    """A tracker that looks at what the fit of all models gets sees what the user passed."""
    usual = keras.Model.fit
    monkeypatch.setattr(keras.Model, "fit", lambda *given, **more: usual(*given, **more))
    assert batched(compiled(), {"x": X, "y": Y})["x"] is X


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("owner", [keras.Model, TRAINER])
def test_a_fit_that_was_wrapped_before_gets_arrays(monkeypatch, owner, method):
    """A tracker may patch Keras before the package is imported, and copy the name of the method."""
    plain = getattr(owner, method)
    wrapper = functools.wraps(plain)(lambda *given, **more: plain(*given, **more))
    monkeypatch.setattr(owner, method, wrapper)
    spec = importlib.util.find_spec(fast.__name__)
    imported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imported)
    assert imported.batched(compiled(), {"x": X, "y": Y})["x"] is X


def test_fewer_steps_for_debugging_change_nothing():
    """Keras takes larger batches where it is told to make so many steps an epoch at most."""
    keras.config.set_max_steps_per_epoch(2)
    try:
        assert batched(compiled(), {"x": X, "y": Y})["x"] is X
    finally:
        keras.config.set_max_steps_per_epoch(None)


def test_large_arrays_stay(monkeypatch):
    """What would take much memory a second time is left to Keras, beside what would not."""
    monkeypatch.setattr(fast, "_MOST_NUMBERS", X[:35].size + Y[:35].size)
    given = batched_as_fit({"x": X, "y": Y, "validation_data": VALIDATION, "batch_size": 9})
    assert given["x"] is X
    assert is_dataset(given["validation_data"])


class ShufflesAnew(array_data_adapter.ArrayDataAdapter):
    """Give the rows of a batch in another order in each epoch."""

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.epoch = tf.Variable(0)

    def on_epoch_end(self):
        """Count."""
        self.epoch.assign_add(1)

    def get_tf_dataset(self):
        """Roll the rows."""
        roll = partial(tf.nest.map_structure, lambda part: tf.roll(part, self.epoch, 0))
        return super().get_tf_dataset().map(lambda *batch: roll(batch))


def test_where_the_order_changes_nothing_is_batched(monkeypatch):
    """A Keras that shuffles in each epoch anew gets the arrays, as the last ones to come may."""
    fast._order_stays.cache_clear()
    monkeypatch.setattr(array_data_adapter, "ArrayDataAdapter", ShufflesAnew)
    given = batched(compiled(), {"x": X, "y": Y})
    fast._order_stays.cache_clear()
    assert given["x"] is X


def test_a_search_trains_from_batches(make_tuner, monkeypatch):
    """Datasets reach the fit of a trial."""
    given = []

    def noted(model, keywords):
        given.append(batched(model, keywords))
        return given[-1]

    monkeypatch.setattr(training, "batched", noted)
    fit = {"validation_data": VALIDATION, "epochs": 1, "verbose": 0}
    make_tuner(lambda trial: compiled(), "val_loss", n_trials=1).search(X, Y, **fit)
    assert is_dataset(given[0]["x"])
    assert is_dataset(given[0]["validation_data"])
