"""Small arrays are trained on from batches that are made once, to the digits of plain Model.fit."""

from __future__ import annotations

import functools
import importlib.util

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.backend.tensorflow import trainer
from scipy import sparse

from kerastune_optuna._backend import pipeline_of, set_all
from kerastune_optuna._trial import batches, training
from kerastune_optuna._trial.batches import batched

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends slice arrays without a pipeline"
)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 4)).astype("float32"), np.arange(50) % 3
HOT = np.eye(3, dtype="float32")[Y]
WEIGHTS = RNG.uniform(size=50)
VALIDATION = (X[:35], Y[:35])


class Own(keras.Sequential):
    """Train by steps of one's own."""

    def train_step(self, data):
        """Add to what the usual step logs."""
        return {**super().train_step(data), "own": keras.ops.sum(data[0])}


class OwnFit(keras.Sequential):
    """Look at the arrays before they are trained on."""

    def fit(self, x=None, y=None, **arguments):
        """Count the rows."""
        assert len(x) == len(y) == 50
        return super().fit(x, y, **arguments)


def compiled(kind=keras.Sequential, loss="sparse_categorical_crossentropy", **options):
    """Return a classifier with chance and state."""
    set_all(3)
    parts = [layers.Dense(8, "relu"), layers.Dropout(0.3), layers.BatchNormalization()]
    model = kind([keras.Input((4,)), *parts, layers.Dense(3, "softmax")])
    model.compile("adam", loss, metrics=["accuracy"], weighted_metrics=[], **options)
    return model


def of_two():
    """Return a model of two inputs and two outputs, by name."""
    set_all(3)
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    both = layers.Dropout(0.3)(layers.concatenate([left, right]))
    kind, size = layers.Dense(3, "softmax", name="kind")(both), layers.Dense(1, name="size")(both)
    model = keras.Model({"left": left, "right": right}, {"kind": kind, "size": size})
    model.compile("adam", {"kind": "sparse_categorical_crossentropy", "size": "mse"})
    return model


def of_one():
    """Return a model without targets."""
    set_all(3)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2), layers.ActivityRegularization(1)])
    model.compile("adam")
    return model


FORMS = {
    "an odd batch": (compiled, {"x": X, "y": Y, "validation_data": VALIDATION}),
    "even batches": (compiled, {"x": X[:48], "y": Y[:48], "batch_size": 16}),
    "one batch": (compiled, {"x": X, "y": Y, "batch_size": 50, "validation_data": VALIDATION}),
    "a batch too large": (compiled, {"x": X, "y": Y, "batch_size": 99}),
    "a split": (compiled, {"x": X, "y": Y, "validation_split": 0.2}),
    "a split with weights": (
        compiled,
        {"x": X, "y": Y, "sample_weight": WEIGHTS, "validation_split": 0.3, "batch_size": 7},
    ),
    "weights": (
        compiled,
        {"x": X, "y": Y, "sample_weight": WEIGHTS, "validation_data": (*VALIDATION, WEIGHTS[:35])},
    ),
    "weights of classes": (compiled, {"x": X, "y": Y, "class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}),
    "two sizes": (
        compiled,
        {
            "x": X,
            "y": Y,
            "validation_data": VALIDATION,
            "batch_size": 9,
            "validation_batch_size": 20,
        },
    ),
    "in order": (compiled, {"x": X, "y": Y, "shuffle": False}),
    "batches shuffled": (compiled, {"x": X, "y": Y, "shuffle": "batch", "batch_size": 9}),
    "other types": (compiled, {"x": X.astype("float64"), "y": Y.astype("int8")}),
    "every other epoch": (
        compiled,
        {"x": X, "y": Y, "validation_data": VALIDATION, "validation_freq": 2},
    ),
    "two inputs": (
        of_two,
        {"x": {"left": X, "right": X[::-1]}, "y": {"kind": Y, "size": X[:, :1]}},
    ),
    "no targets": (of_one, {"x": X, "validation_data": X[:35]}),
    "own steps": (lambda: compiled(Own), {"x": X, "y": Y, "validation_data": VALIDATION}),
    "one hot": (lambda: compiled(loss="categorical_crossentropy"), {"x": X, "y": HOT}),
    "tensors": (
        compiled,
        {"x": keras.ops.convert_to_tensor(X), "y": keras.ops.convert_to_tensor(Y)},
    ),
}


def is_dataset(data):
    """Whether data is a dataset of TensorFlow's."""
    import tensorflow as tf

    return isinstance(data, tf.data.Dataset)


@pytest.mark.parametrize("form", FORMS)
def test_batches_change_no_digit(form):
    """Each form of arrays trains to the digits of plain fit, and no array is left."""
    make, keywords = FORMS[form]
    keywords = {**keywords, "epochs": 3, "verbose": 0}
    plain = make().fit(**keywords).history
    model = make()
    given = batched(model, keywords)
    assert is_dataset(given["x"])
    assert is_dataset(given.get("validation_data")) == ("validation" in "".join(keywords))
    assert model.fit(**given).history == plain


def test_tables_of_pandas_are_batched_too():
    """A DataFrame and a Series train to the digits of plain fit."""
    pd = pytest.importorskip("pandas")
    keywords = {"x": pd.DataFrame(X), "y": pd.Series(Y), "epochs": 3, "verbose": 0}
    plain, model = compiled().fit(**keywords).history, compiled()
    given = batched(model, keywords)
    assert is_dataset(given["x"])
    assert model.fit(**given).history == plain


@pytest.mark.parametrize(
    "news",
    [
        {"steps_per_epoch": 1},
        {"validation_steps": 1},
        {"x": (X[i : i + 5] for i in range(3)), "y": None},
        {"x": sparse.csr_matrix(X)},
    ],
    ids=["some steps", "some steps of validation", "a generator", "sparse rows"],
)
def test_what_is_no_whole_array_stays(news):
    """Data that an epoch reads in part, or that is no array, goes to Keras as it came."""
    keywords = {"x": X, "y": Y, "epochs": 3, **news}
    given = batched(compiled(), keywords)
    assert given["x"] is keywords["x"]
    assert given["y"] is keywords["y"]


def test_ragged_rows_and_texts_stay():
    """Rows of different lengths have no batches of one shape, and texts may be of any size."""
    import tensorflow as tf

    for words in (tf.ragged.constant([[1, 2], [3]] * 25), tf.constant([["a"], ["b"]] * 25)):
        assert batched(compiled(), {"x": words, "y": Y})["x"] is words


@pytest.mark.parametrize("make", [lambda: compiled(run_eagerly=True), lambda: compiled(OwnFit)])
def test_models_that_train_in_another_way_get_arrays(make):
    """Nothing is changed for a model with a fit of its own, or that runs without a graph."""
    model = make()
    given = batched(model, {"x": X, "y": Y, "epochs": 1, "verbose": 0})
    assert given["x"] is X
    model.fit(**given)


def test_a_fit_that_somebody_wrapped_gets_arrays(monkeypatch):
    """A tracker that looks at what fit gets, of one model or of all, sees what the user passed."""
    model = compiled()
    model.fit = lambda **keywords: None
    assert batched(model, {"x": X, "y": Y})["x"] is X
    usual = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda self, *given, **more: usual(self, *given, **more)
    )
    assert batched(compiled(), {"x": X, "y": Y})["x"] is X


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("owner", [keras.Model, trainer.TensorFlowTrainer])
def test_a_fit_that_was_wrapped_before_gets_arrays(monkeypatch, owner, method):
    """A tracker may patch Keras before the package is imported, and copy the name of the method."""
    plain = getattr(owner, method)
    wrapper = functools.wraps(plain)(lambda *given, **more: plain(*given, **more))
    monkeypatch.setattr(owner, method, wrapper)
    spec = importlib.util.find_spec(batches.__name__)
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


@pytest.mark.parametrize(
    "news",
    [
        {"x": np.zeros((2001, 4)), "y": np.zeros(2001), "batch_size": 1},
        {"x": X[:0], "y": Y[:0]},
    ],
    ids=["many batches", "no rows"],
)
def test_arrays_that_gain_nothing_stay(news):
    """Many batches would take long to read, and no rows are Keras's to refuse."""
    keywords = {"x": X, "y": Y, **news}
    assert batched(compiled(), keywords)["x"] is keywords["x"]


def test_large_arrays_stay(monkeypatch):
    """What would take much memory a second time is left to Keras, beside what would not."""
    keywords = {"x": X, "y": Y, "validation_data": VALIDATION, "epochs": 3, "batch_size": 9}
    monkeypatch.setattr(batches, "_MOST", X[:35].size + Y[:35].size)
    plain, model = compiled().fit(**keywords, verbose=0).history, compiled()
    given = batched(model, keywords)
    assert given["x"] is X
    assert is_dataset(given["validation_data"])
    assert model.fit(**given, verbose=0).history == plain


def test_keras_gives_rows_in_the_same_order_in_each_epoch():
    """What batches that are made once rest upon: if it fails, they are given up, and time is lost.

    Keras seeds the shuffle of arrays by the global seed alone, and TensorFlow begins anew with it
    whenever the pipeline is opened.
    """
    set_all(3)
    arrays = {"x": X, "y": Y, "sample_weight": None}
    pipeline = pipeline_of(**arrays, batch_size=50, shuffle=True)
    first, second = ([y.numpy().tolist() for _, y in pipeline] for _ in range(2))
    assert first == second
    assert first[0] != Y.tolist()
    assert batches._order_stays()


def test_where_the_order_changes_nothing_is_batched(monkeypatch):
    """A Keras that shuffles in each epoch anew gets the arrays."""
    monkeypatch.setattr(batches, "_order_stays", lambda: False)
    assert batched(compiled(), {"x": X, "y": Y})["x"] is X


def test_a_search_trains_from_batches(make_tuner, monkeypatch):
    """Datasets reach fit, and the trial's curve is that of plain fit, to the last digit."""
    given = []

    def noted(model, keywords):
        given.append(batched(model, keywords))
        return given[-1]

    monkeypatch.setattr(training, "batched", noted)
    fit = {"x": X, "y": Y, "validation_data": VALIDATION, "epochs": 4, "verbose": 0}
    tuner = make_tuner(lambda trial: compiled(), "val_loss", n_trials=1).search(**fit)
    assert is_dataset(given[0]["x"])
    assert is_dataset(given[0]["validation_data"])
    curve = list(tuner.best_trial.intermediate_values.values())
    assert curve == compiled().fit(**fit).history["val_loss"]


def test_batches_of_validation_data_are_made_once():
    """Trainings with the same rows to validate with read one dataset; changed rows have theirs."""
    rows = X[:35].copy()

    def validation(x):
        return batched(compiled(), {"x": X, "y": Y, "validation_data": (x, Y[:35])})[
            "validation_data"
        ]

    first = validation(rows)
    assert validation(rows) is first
    rows[0] += 1
    assert validation(rows) is not first
    assert np.array_equal(next(iter(validation(rows)))[0][0], rows[0])
    assert validation(X[:35]) is first


def test_batches_of_few_validation_data_are_kept():
    """The oldest go, and large ones are not kept."""
    batches._kept.clear()
    for number in range(10):
        data = (X[:35] + number, Y[:35])
        batched(compiled(), {"x": X, "y": Y, "validation_data": data})
    assert len(batches._kept) == 8
    large = np.zeros((30_000, 4), "float32")
    batched(compiled(), {"x": X, "y": Y, "validation_data": (large, np.zeros(30_000, "int64"))})
    assert len(batches._kept) == 8
