"""Bad input gets one line before any training: what came, why not, what to pass instead."""

import re
import threading
from contextlib import contextmanager

import keras
import numpy as np
import optuna
import pytest
import tensorflow as tf
from pandas import DataFrame

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    BuilderError,
    MetricNotFoundError,
    MissingExtraError,
    PruningCallback,
    StorageError,
)
from tests.support.models import build_model
from tests.zoo.data import Batches

VALUE, TYPE, BUILD = ArgumentError, ArgumentTypeError, BuilderError
X, Y = np.zeros((8, 4), "float32"), np.zeros(8, "int64")
EMPTY = np.zeros((0, 4), "float32")
DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
IN_BATCHES = {"x": DATASET, "y": None}
SPLIT = {"validation_data": None, "validation_split": 0.5}
CV = {"validation_data": None, "cv": 2}
SEVERAL = {"objective": ["val_loss", "n_params"]}
MISSPELT = {"objective": "val_acuracy", "direction": "maximize"}


# A stand-in for a terminator of Optuna, which Optuna 6 will not have.
NoGain = type("NoGain", (), {"__module__": "optuna.terminator", "should_terminate": None})
STOPPING = keras.callbacks.EarlyStopping
BACKUP = keras.callbacks.BackupAndRestore("backups")
UNCOPIED = keras.callbacks.LambdaCallback(holds=threading.Lock())
DENSE = keras.layers.Dense(1)
# A stand-in for a model of that package, which cannot be installed beside some versions of Keras.
OF_KERAS_2 = type("Sequential", (), {"__module__": "tf_keras.src.engine.sequential"})()


def beside(*others):
    return lambda trial: (build_model(trial), *others)


def two_of_each(kind, loss="mse", columns=("a", "b")):
    """Return options for a model with two inputs and two outputs, in dicts or in lists."""

    def build(trial):
        trial.suggest_int("units", 2, 8)
        inputs = {name: keras.Input((4,), name=name) for name in columns}
        x = keras.layers.add(list(inputs.values()))
        named = {name: keras.layers.Dense(1, name=name)(x) for name in ("color", "size")}
        model = keras.Model(
            *(one if kind is dict else list(one.values()) for one in (inputs, named))
        )
        model.compile("sgd", loss, run_eagerly=True)
        return model

    return {"build": build, "objective": "val_loss"}


# What came is told first, then what to pass: of each row the text is a whole part of that line.
CONSTRUCTOR = [
    ({"build": 3}, TYPE, "build_model=3 cannot be called."),
    ({"build": keras.Sequential(name="m")}, TYPE, "is the model 'm', not a function."),
    ({"build": lambda: None}, TYPE, "cannot be called with only a trial"),
    ({"build": lambda trial, data: 0}, TYPE, "(missing a required argument: 'data')"),
    ({"objective": 3}, TYPE, "objective=3 is not a name. Pass the name of one metric"),
    ({"objective": ""}, VALUE, "objective='' is not a metric name."),
    (
        {"objective": "val_acuracy"},
        VALUE,
        "that direction='auto' knows. Did you mean 'val_accuracy'?",
    ),
    ({"objective": "los"}, VALUE, "cannot tell whether 'los' should grow or fall. Pass direction="),
    ({"max_trials": 3}, TYPE, "does not take. It is called n_trials here."),
    ({"batch_size": 8}, TYPE, "does not take. Pass it to search(), as in search(batch_size=...)."),
    ({"n_trails": 3}, TYPE, "Did you mean 'n_trials'? It takes build_model, objective"),
    ({"direction": "up"}, VALUE, "Pass one of 'auto', 'minimize', 'maximize'."),
    ({"n_trials": 0}, VALUE, "n_trials=0 is less than 1. Pass 1 or more trials, or None"),
    ({"n_trials": True}, TYPE, "n_trials=True of type bool is not a whole number."),
    ({"timeout": 0}, VALUE, "timeout=0 leaves no time for a trial."),
    ({"timeout": "1h"}, TYPE, "timeout='1h' is not a number of seconds."),
    ({"sampler": "tpee"}, VALUE, "sampler='tpee' is not a sampler. Did you mean 'tpe'? Pass"),
    ({"sampler": 3}, TYPE, "'cmaes', 'gp', 'grid', 'qmc', 'random', 'tpe', or an object like"),
    ({"sampler": optuna.samplers.TPESampler}, TYPE, "is not an Optuna sampler."),
    ({"pruner": "weak"}, VALUE, "pruner='weak' is not a pruner. Pass one of 'auto', 'halving',"),
    ({"pruner": optuna.pruners.NopPruner}, TYPE, "is not an Optuna pruner."),
    ({"terminator": 0}, VALUE, "terminator=0 is less than 1. Pass how many trials in a row"),
    ({"terminator": "auto", "sampler": "tpe"}, VALUE, "'tpe' does not say it. Pass sampler='auto'"),
    ({"terminator": "never"}, TYPE, 'may bring no better value, "auto", or an Optuna'),
    ({"terminator": NoGain}, TYPE, "is a class. Pass how many trials"),
    ({"sampler": "grid", "train_repeats": True}, VALUE, "but train_repeats=True asks for more."),
    ({"warm_start": 3}, TYPE, "warm_start= got 3, which holds no trials."),
    ({"warm_start": []}, VALUE, "warm_start=[] holds no trials. Pass an Optuna study"),
    (
        {"warm_start": DataFrame({"units": [1], "loss": [2]})},
        VALUE,
        "the columns units, loss, but without 'value' and 'params_...'. Rename its columns as",
    ),
    ({"warm_start": DataFrame({"params_a": [1]})}, VALUE, "params_a, but without 'value'."),
    (
        {"warm_start": optuna.create_study(directions=["minimize"] * 2)},
        VALUE,
        "values_value 0, values_value 1",
    ),
    ({"warm_start": optuna.create_study(), **SEVERAL}, VALUE, "warm_start= is for one objective,"),
    ({"stop_at": "high"}, TYPE, "stop_at='high' is not a number. Pass a value of the"),
    ({"stop_at": float("nan")}, VALUE, "stop_at=nan is reached never or at once."),
    ({"stop_at": 0.1, **SEVERAL}, VALUE, "stop_at=0.1 is for one objective, but there are"),
    ({"train_repeats": 1}, VALUE, "train_repeats=1 is not a choice. Pass one of True,"),
    ({"seed": -1}, VALUE, "seed=-1 is less than 0."),
    ({"directory": 3}, TYPE, "directory=3 is not a path. Pass the name of a folder."),
    ({"directory": ""}, TYPE, "directory='' is not a path."),
    ({"study_name": "a/b"}, VALUE, "study_name='a/b' cannot name a folder."),
    ({"study_name": ".."}, VALUE, "study_name='..' cannot name a folder."),
    ({"study_name": "ж" * 200}, VALUE, "Pass up to 200 characters of at most 255 bytes"),
    ({"study_name": ""}, VALUE, "study_name='' cannot name a folder."),
    ({"study_name": "study.db"}, VALUE, "study_name='study.db' is the name of a file in"),
    ({"study_name": 3}, TYPE, "study_name=3 is not a string. Pass a name like 'iris'."),
    ({"storage": 3}, TYPE, "storage=3 is not an Optuna storage."),
    ({"storage": "host=db password=secret"}, VALUE, "storage= is not a database URL."),
    ({"storage": "postgresql://me:p@ss:secret@host/db"}, VALUE, "storage= is not a database URL."),
    ({"artifact_store": "s3"}, VALUE, "artifact_store='s3' has no open_reader, write,"),
    ({"executions_per_trial": 0}, VALUE, "executions_per_trial=0 is less than 1."),
    ({"keep_best": -1}, VALUE, "keep_best=-1 is less than 0."),
    ({"max_failed_trials": 0}, VALUE, "max_failed_trials=0 is less than 1."),
    ({"backup_every": -1}, VALUE, "backup_every=-1 is less than 0. Pass the seconds"),
    ({"overwrite": "yes"}, VALUE, "overwrite='yes' is not a choice."),
    ({"objective": []}, VALUE, "is empty"),
    ({"objective": ["loss", "loss"]}, VALUE, "names loss twice"),
    ({"objective": ["val_loss", 3]}, TYPE, "objective=3 is not a name"),
    ({"objective": ["loss", "mine"]}, VALUE, "cannot tell whether 'mine'"),
    ({"objective": ["n_params", "seconds"]}, VALUE, "says nothing about what a model has learned"),
    ({"objective": "n_params"}, VALUE, 'like ["val_accuracy", "n_params"'),
    ({"objective": "flops"}, VALUE, 'like ["val_accuracy", "flops"'),
    ({"direction": "minimize", **SEVERAL}, VALUE, "does not match 2 objectives"),
    ({"direction": ["minimize"], **SEVERAL}, VALUE, "does not match 2 objectives"),
    ({"direction": ["minimize", "up"], **SEVERAL}, VALUE, "direction='up' is not a choice"),
    ({"direction": ["auto", "maximize"], **SEVERAL}, VALUE, "less is better"),
    ({"sampler": optuna.samplers.CmaEsSampler(), **SEVERAL}, VALUE, "is for one objective"),
    ({"sampler": "cmaes", **SEVERAL}, VALUE, "sampler='cmaes' is for one objective"),
    ({"terminator": NoGain(), **SEVERAL}, VALUE, "for one objective, as Optuna's are"),
    ({"terminator": "auto", **SEVERAL}, VALUE, "'auto' is for one objective, as Optuna's are"),
]

SEARCH = [
    ({"epochs": 0}, VALUE, "epochs=0 is less than 1. Pass 1 or more epochs."),
    ({"epochs": "10"}, TYPE, "epochs='10' of type str is not a whole number."),
    ({"initial_epoch": 2}, VALUE, "initial_epoch=2 leaves none of epochs=2 to train."),
    ({"batchsize": 4}, TYPE, "Did you mean 'batch_size'?"),
    ({"workers": 2}, TYPE, "Did you mean 'n_workers'?"),
    ({"epoch": 4}, TYPE, "'epoch', which Model.fit does not take. Did you mean"),
    ({"verbose": 3}, VALUE, "verbose=3 is not a choice. Pass one of 'auto', 0, 1, 2."),
    ({"verbose": True}, VALUE, "verbose=True is not a choice."),
    ({"n_trials": 0}, VALUE, "n_trials=0 is less than 1."),
    ({"timeout": -1}, VALUE, "timeout=-1 is less than 0. Pass a positive number"),
    ({"x": None}, TYPE, "x=None is no training data."),
    ({"x": EMPTY}, VALUE, "x is empty: there is nothing to train on."),
    ({"x": lambda: EMPTY}, VALUE, "x is empty: there is nothing to train on."),
    ({"x": DATASET.take(0), "y": None}, VALUE, "x is empty: there is nothing to train on."),
    ({"x": DATASET.filter(lambda x, y: False), "y": None}, VALUE, "x is empty:"),
    ({"x": DATASET}, VALUE, "batches already contain the targets. Leave y out."),
    ({"x": DATASET.repeat(), "y": None}, VALUE, "x is endless (repeat()), so an epoch"),
    ({"x": (row for row in X), "y": None}, TYPE, "which can be read only once,"),
    ({"y": Y[:5]}, VALUE, "x has 8 rows and y has 5. Pass as many targets as inputs."),
    ({"sample_weight": np.ones(5)}, VALUE, "x has 8 rows and sample_weight has 5."),
    ({"validation_data": None}, VALUE, "needs validation data, but there is none. Pass"),
    ({"validation_data": (X,) * 4}, VALUE, "validation_data has 4 parts. Pass (x,),"),
    ({"validation_data": (EMPTY, Y[:0])}, VALUE, "there is nothing to validate on."),
    ({"validation_data": (X, Y[:3])}, VALUE, "validation_data[0] has 8 rows and [1] has 3."),
    ({"validation_data": DATASET.repeat()}, VALUE, "Pass validation_steps=,"),
    ({"validation_freq": 3}, VALUE, "validation_freq=3 is more than epochs=2:"),
    ({"steps_per_execution": 0}, VALUE, "steps_per_execution=0 is less than one step."),
    ({"steps_per_execution": "epoch"}, TYPE, "'epoch' is not a whole number. Pass"),
    ({"steps_per_execution": True}, TYPE, "True is not a whole number."),
    ({"batch_size": 2.5}, TYPE, "batch_size=2.5 of type float is not a whole number."),
    ({"validation_batch_size": 0}, VALUE, "validation_batch_size=0 is less than 1."),
    ({"validation_split": 1.0}, VALUE, "validation_split=1.0 is not a fraction of the data."),
    ({"validation_split": "a"}, VALUE, "validation_split='a' is not a fraction of the data."),
    ({**IN_BATCHES, **SPLIT}, VALUE, "works for arrays, not for x of type _BatchDataset. Pass"),
    ({"on_trial_end": [3]}, TYPE, "on_trial_end holds 3, which cannot be called with a study"),
    ({"on_trial_end": len}, TYPE, "which cannot be called with a study and a trial"),
    ({"on_trial_end": [STOPPING()]}, TYPE, "Pass Keras callbacks as callbacks=."),
    ({"callbacks": "early"}, TYPE, "callbacks holds 'early', which is not a keras"),
    ({"callbacks": [3]}, TYPE, "callbacks holds 3, which is not a keras Callback. Pass"),
    ({"callbacks": [STOPPING]}, TYPE, "is not a keras Callback."),
    ({"callbacks": [UNCOPIED]}, VALUE, "_thread.lock' object). Pass a function that takes the"),
    ({"callbacks": [BACKUP]}, VALUE, "which would start each trial from the weights of another."),
]

FOLDS = [
    ({"cv": 1}, VALUE, "n_splits=1). Pass a number of folds, a splitter"),
    ({"cv": "5"}, TYPE, "cv='5' is not a splitter. Pass a number of folds, a splitter"),
    ({"groups": Y}, VALUE, "groups= was passed without cv=, which uses it."),
    ({"cv": 3, "validation_data": (X, Y)}, VALUE, "validation_data was passed with cv=, which"),
    ({"cv": 3, **SPLIT}, VALUE, "Leave validation_split out, or pass"),
    ({"cv": []}, VALUE, "cv= gave no folds, or a fold that does not consist of"),
    ({"cv": [1, 2]}, VALUE, "cv= cannot split the data (cannot unpack"),
    ({"cv": [([0, 1], [8])]}, VALUE, "does not consist of row numbers from 0 to 7."),
    ({"cv": [([0.5], [1])]}, VALUE, "does not consist of row numbers from 0 to 7."),
    ({"cv": 9}, VALUE, "of samples: n_samples=8). Pass a number of folds,"),
    ({"cv": 3, **IN_BATCHES}, TYPE, "is not possible for x of type _BatchDataset"),
    ({"cv": 3, "x": Batches(X, Y), "y": None}, TYPE, "or validation_data= in place"),
    ({"cv": 3, "x": list(range(8))}, TYPE, "is not possible for x of type int."),
]

SEARCH += [({"validation_data": None, **fit}, *told) for fit, *told in FOLDS]

PRUNING = [
    ({"monitor": 3}, TYPE, "monitor=3 is not a name."),
    ({"monitor": "val_score"}, VALUE, "cannot tell whether 'val_score' should grow or fall."),
    ({"monitor": "val_loss", "interval": 0}, VALUE, "interval=0 is not a number of epochs."),
    ({"monitor": "val_loss", "interval": 1.5}, VALUE, "interval=1.5 is not a number of"),
    ({"monitor": "val_loss", "direction": "down"}, VALUE, "direction='down' is not a choice."),
]

FIRST_TRIAL = [
    ({"build": lambda trial: trial.Int("n", 2, 8)}, BUILD, "Pass from_keras_tuner(build_model),"),
    ({"build": lambda trial: None}, BUILD, "returned None (is its `return model` missing?)."),
    ({"build": lambda trial: OF_KERAS_2}, BUILD, "a Sequential of tf_keras, which is Keras 2."),
    ({"build": lambda trial: (OF_KERAS_2, {})}, BUILD, "of tf_keras, which is Keras 2. Build it"),
    ({"build": lambda trial: DENSE}, BUILD, "returned Dense. Return a compiled keras.Model"),
    ({"build": lambda trial: keras.Sequential([DENSE])}, BUILD, "Call model.compile(optimizer="),
    ({"build": beside({}, {})}, BUILD, "returned Sequential and dict and dict. Return a"),
    ({"build": beside(32)}, BUILD, "returned Sequential and int. Return a compiled"),
    ({"build": beside({"x": X})}, TYPE, "the same for all trials. Pass x= to search();"),
    ({"build": beside({"verbose": 1})}, TYPE, "Pass verbose= to search();"),
    ({"build": beside({"batchsize": 4})}, TYPE, "Did you mean 'batch_size'?"),
    ({"build": beside({"batch_size": 0})}, VALUE, "batch_size=0 is less than 1. Pass how many"),
    ({"build": beside({"validation_freq": 3})}, VALUE, "validation_freq=3 is more than epochs=2:"),
    ({"build": beside({"callbacks": BACKUP})}, VALUE, "each trial from the weights of another."),
    (MISSPELT, MetricNotFoundError, "val_accuracy, val_loss. Did you mean 'val_accuracy'?"),
]

GOOD, BAD, IN = {"color": Y, "size": Y}, {"colour": Y, "size": Y}, {"a": X, "b": X}
HALF, LOSSES = {"size": Y}, {"color": "mse", "size": "mse"}
FINE = {"x": IN, "y": GOOD, "validation_data": (IN, GOOD)}
NAMES = "has targets for 'colour', but the outputs of the model are 'color', 'size'."
NO_COLOR = "has no targets for 'color', which the loss of the model compares."
NO_A = "has no input 'a', but the inputs of the model are 'a', 'b'."


def rows(*parts):
    """Return a dataset of them, in place of arrays."""
    return tf.data.Dataset.from_tensor_slices(parts).batch(4)


WITH_ITS_DATA = [
    ({}, {"y": None}, "y=None"),
    ({}, {**IN_BATCHES, "batch_size": 4}, "to tune it, pass a function of the trial"),
    ({}, {"x": Batches(X, Y), "y": None, "batch_size": 4}, "ignore it. Leave batch_size out;"),
    ({}, {"validation_data": DATASET, "validation_batch_size": 4}, "which already has batches"),
    ({"objective": "loss"}, CV, "Pass objective='val_loss', or"),
    ({"build": beside({"validation_split": 0.5})}, CV, "build_model returned validation_split=0.5"),
    (two_of_each(dict), {**FINE, "y": BAD}, f"y {NAMES}"),
    (two_of_each(list), {**FINE, "x": rows(IN, BAD), "y": None}, f"x {NAMES}"),
    (two_of_each(dict), {**FINE, "validation_data": (IN, BAD)}, f"validation_data {NAMES}"),
    (two_of_each(dict), {**FINE, "y": HALF}, f"y {NO_COLOR}"),
    (two_of_each(list, LOSSES), {**FINE, "x": rows(IN, HALF), "y": None}, f"x {NO_COLOR}"),
    (
        two_of_each(dict, LOSSES),
        {**FINE, "validation_data": (IN, HALF)},
        f"validation_data {NO_COLOR}",
    ),
    (two_of_each(dict), {**FINE, "x": {"b": X}}, f"x {NO_A}"),
    (
        two_of_each(list),
        {**FINE, "validation_data": rows({"b": X}, GOOD)},
        f"validation_data {NO_A}",
    ),
]


@pytest.fixture
def epochs_trained(monkeypatch):
    """Count the epochs that any model trains while the test runs."""
    trained = []
    begin = keras.callbacks.CallbackList.on_epoch_begin

    def counted(self, epoch, logs=None):
        trained.append(epoch)
        begin(self, epoch, logs)

    monkeypatch.setattr(keras.callbacks.CallbackList, "on_epoch_begin", counted)
    return trained


@contextmanager
def refusal(kind, text):
    """Wait for an error of a kind: one line, in which the text is a whole part."""
    with pytest.raises(kind) as got:
        yield got
    assert type(got.value) is kind
    message = str(got.value)
    assert re.search(rf"(?<!\w){re.escape(text)}(?!\w)", message), message
    assert "\n" not in message
    assert "secret" not in message


@pytest.fixture
def refused(make_tuner, epochs_trained):
    def check(options, fit, kind, text):
        tuner = make_tuner(**{"storage": optuna.storages.InMemoryStorage(), **options})
        fit = {"x": X, "y": Y, "validation_data": (X, Y), "epochs": 2, "verbose": 0, **fit}
        with refusal(kind, text) as got:
            tuner.search(**fit)
        assert epochs_trained == []
        return got.value

    return check


@pytest.mark.parametrize(("options", "kind", "text"), CONSTRUCTOR)
def test_a_wrong_argument_of_the_constructor(make_tuner, tmp_path, options, kind, text):
    """The constructor refuses what cannot work, and leaves no file behind."""
    with refusal(kind, text):
        make_tuner(**options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fit", "kind", "text"), SEARCH)
def test_a_wrong_argument_of_search(refused, tmp_path, fit, kind, text):
    """search() refuses what cannot work before it opens a study."""
    refused({"storage": None}, fit, kind, text)
    assert list(tmp_path.iterdir()) == []


def test_folds_without_scikit_learn(refused, monkeypatch):
    """Folds name the extra that they need."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused({}, CV, MissingExtraError, 'pip install "kerastune_optuna[examples]"')


@pytest.mark.parametrize(("arguments", "kind", "text"), PRUNING)
def test_a_wrong_argument_of_the_pruning_callback(arguments, kind, text):
    """The callback refuses in its constructor what cannot work."""
    with refusal(kind, text):
        PruningCallback(optuna.trial.FixedTrial({}), **arguments)


@pytest.mark.parametrize(("options", "kind", "text"), FIRST_TRIAL)
def test_what_only_a_model_shows(refused, options, kind, text):
    """What is known once the first model is built ends the search before that model trains."""
    refused(options, {}, kind, text)


@pytest.mark.parametrize(("options", "fit", "text"), WITH_ITS_DATA)
def test_data_that_does_not_go_with_the_rest(refused, options, fit, text):
    """Data that the model, the objective or a size of batches does not suit trains nothing."""
    refused(options, fit, ArgumentError, text)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras's own of each, which may be mistakes
@pytest.mark.parametrize("kind", [dict, list])
def test_more_inputs_and_fewer_targets_than_a_model_needs(make_tuner, kind):
    """Both are trained, if the output without targets has no loss."""
    loss, x = ({"size": "mse"}, {**IN, "more": X}) if kind is dict else ([None, "mse"], [X, X])
    given = x, HALF
    tuner = make_tuner(**two_of_each(kind, loss), n_trials=1)
    tuner.search(*given, validation_data=given, epochs=1, verbose=0)
    assert tuner.best_trial.number == 0


def test_each_error_is_a_builtin_too():
    """Whoever catches what Python itself would raise catches ours."""
    ours = [ArgumentError, ArgumentTypeError, BuilderError, MetricNotFoundError, StorageError]
    builtin = [ValueError, TypeError, TypeError, LookupError, ConnectionError]
    assert all(map(issubclass, ours, builtin))


def test_a_directory_that_cannot_be_written(refused, tmp_path):
    """A folder below a file cannot be made, and the error says so."""
    (tmp_path / "file").touch()
    options = {"directory": tmp_path / "file" / "tuning", "storage": None}
    refused(options, {}, StorageError, "cannot be written: Not a directory. Pass a")


UNREACHABLE = [
    ("sqlite:////no/such/folder/study.db", "unable to open database file"),
    ("postgresql+psycopg://me:secret@127.0.0.1:1/none", "'postgresql+psycopg://me:***@127.0.0.1:1"),
    ("nosuchdb://me:secret@127.0.0.1/none", "storage='nosuchdb://me:***@127.0.0.1/none'"),
]


@pytest.mark.parametrize(("url", "text"), UNREACHABLE)
def test_a_storage_that_does_not_connect(refused, url, text):
    """The error shows the URL and never the password, as storage/test_url.py has it."""
    assert refused({"storage": url}, {}, StorageError, text).__cause__ is None


def test_good_input_is_not_refused(make_tuner, epochs_trained):
    """The data of these tests trains where nothing is wrong with the arguments."""
    tuner = make_tuner(n_trials=1)
    tuner.search(X, Y, validation_data=(X, Y), epochs=1, verbose=0)
    assert epochs_trained
    assert len(tuner.study.trials) == 1
