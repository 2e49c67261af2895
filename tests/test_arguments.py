"""Bad input gets one line before any training: what came, why not, what to pass instead."""

from __future__ import annotations

import re
from contextlib import contextmanager

import keras
import numpy as np
import optuna
import pandas
import pytest
import tensorflow as tf
from optuna.terminator import BaseTerminator

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

X, Y = np.zeros((8, 4), "float32"), np.zeros(8, "int64")
EMPTY = np.zeros((0, 4), "float32")
DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)


def no_model(trial):
    """Forget to return."""


def a_layer(trial):
    """Return a layer in place of a model."""
    return keras.layers.Dense(1)


def uncompiled(trial):
    """Forget to compile."""
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def without_argument():
    """Take no trial."""


def with_two(trial, data):
    """Take more than a trial."""


class Batches(keras.utils.PyDataset):
    """Serve one batch."""

    def __len__(self):
        """Count it."""
        return 1

    def __getitem__(self, index):
        """Return it."""
        return X, Y


def giving(**arguments):
    """Return a builder that gives arguments of fit beside its model."""
    return lambda trial: (build_model(trial), arguments)


def a_triple(trial):
    """Return more than a model and its arguments."""
    return build_model(trial), {}, {}


def a_number(trial):
    """Return something else than arguments beside the model."""
    return build_model(trial), 32


def for_keras_tuner(trial):
    """Ask as KerasTuner's builders do."""
    return build_model(optuna.trial.FixedTrial({"units": trial.Int("units", 2, 8), "lr": 0.1}))


class UncopiedCallback(keras.callbacks.Callback):
    """Hold what cannot be copied."""

    def __deepcopy__(self, memo):
        raise RuntimeError("there is only one")


# What came is told first, then what to pass: of each row the text is a whole part of that line.
CONSTRUCTOR = [
    ({"build": 3}, ArgumentTypeError, "build_model=3 cannot be called."),
    ({"build": keras.Sequential(name="m")}, ArgumentTypeError, "is the model 'm', not a function."),
    ({"build": without_argument}, ArgumentTypeError, "cannot be called with a trial alone"),
    ({"build": with_two}, ArgumentTypeError, "(missing a required argument: 'data')"),
    ({"objective": 3}, ArgumentTypeError, "objective=3 is not a name. Pass the name of one metric"),
    ({"objective": ""}, ArgumentError, "objective='' is no metric name."),
    ({"objective": "val_acuracy"}, ArgumentError, "fall. Did you mean 'val_accuracy'?"),
    (
        {"objective": "los"},
        ArgumentError,
        "cannot tell whether 'los' should grow or fall. Pass direction=",
    ),
    ({"max_trials": 3}, ArgumentTypeError, "does not take. It is called n_trials here."),
    (
        {"n_trails": 3},
        ArgumentTypeError,
        "Did you mean 'n_trials'? It takes build_model, objective",
    ),
    ({"direction": "up"}, ArgumentError, "Pass one of 'auto', 'minimize', 'maximize'."),
    ({"n_trials": 0}, ArgumentError, "n_trials=0 is less than 1. Pass 1 or more trials, or None"),
    ({"n_trials": 2.5}, ArgumentTypeError, "n_trials=2.5 of type float is not a whole number."),
    ({"n_trials": True}, ArgumentTypeError, "n_trials=True of type bool is not a whole number."),
    ({"timeout": 0}, ArgumentError, "timeout=0 leaves no time for a trial."),
    ({"timeout": "1h"}, ArgumentTypeError, "timeout='1h' is not a number of seconds."),
    ({"sampler": "tpee"}, ArgumentError, "sampler='tpee' is no sampler. Did you mean 'tpe'? Pass"),
    (
        {"sampler": 3},
        ArgumentTypeError,
        "Pass one of 'auto', 'cmaes', 'gp', 'grid', 'qmc', 'random', 'tpe', an object like",
    ),
    ({"sampler": optuna.samplers.TPESampler}, ArgumentTypeError, "is no Optuna sampler."),
    ({"pruner": "weak"}, ArgumentError, "pruner='weak' is no pruner. Pass one of 'halving',"),
    ({"pruner": optuna.pruners.NopPruner}, ArgumentTypeError, "is no Optuna pruner."),
    (
        {"terminator": 0},
        ArgumentError,
        "terminator=0 is less than 1. Pass how many trials in a row",
    ),
    ({"terminator": BaseTerminator}, ArgumentTypeError, "is a class. Pass how many trials"),
    (
        {"sampler": "grid", "train_repeats": True},
        ArgumentError,
        "sampler='grid' trains each configuration once, and train_repeats=True asks for more.",
    ),
    ({"warm_start": 3}, ArgumentTypeError, "warm_start= got 3, which holds no trials."),
    ({"warm_start": []}, ArgumentError, "warm_start=[] holds no trials. Pass an Optuna study"),
    ({"warm_start": "tuning"}, ArgumentTypeError, "warm_start= got 'tuning', which holds no"),
    (
        {"warm_start": pandas.DataFrame({"units": [1]})},
        ArgumentError,
        "columns are units. Parameters are in columns like 'params_units', values in 'value'.",
    ),
    (
        {"warm_start": optuna.create_study(), "objective": ["val_loss", "n_params"]},
        ArgumentError,
        "warm_start= is for one objective, and there are several: of these no trial is the best.",
    ),
    ({"stop_at": "high"}, ArgumentTypeError, "stop_at='high' is no number. Pass a value of the"),
    ({"stop_at": float("nan")}, ArgumentError, "stop_at=nan is never reached, or at once."),
    (
        {"objective": ["val_loss", "n_params"], "stop_at": 0.1},
        ArgumentError,
        "stop_at=0.1 is for one objective, and here are several. Pass terminator=",
    ),
    ({"train_repeats": 1}, ArgumentError, "train_repeats=1 is not a choice. Pass one of True,"),
    ({"seed": -1}, ArgumentError, "seed=-1 is less than 0."),
    ({"seed": "7"}, ArgumentTypeError, "seed='7' of type str is not a whole number."),
    ({"directory": 3}, ArgumentTypeError, "directory=3 is no path. Pass the name of a folder."),
    ({"directory": ""}, ArgumentTypeError, "directory='' is no path."),
    ({"study_name": "a/b"}, ArgumentError, "study_name='a/b' cannot name a folder."),
    ({"study_name": ".."}, ArgumentError, "study_name='..' cannot name a folder."),
    ({"study_name": ""}, ArgumentError, "study_name='' cannot name a folder."),
    ({"study_name": "study.db"}, ArgumentError, "study_name='study.db' is the name of a file in"),
    ({"study_name": 3}, ArgumentTypeError, "study_name=3 is no text. Pass a name like 'iris'."),
    ({"storage": 3}, ArgumentTypeError, "storage=3 is no Optuna storage."),
    ({"storage": "my study"}, ArgumentError, "storage= is a text that is no database URL."),
    ({"artifact_store": "s3"}, ArgumentError, "artifact_store='s3' has no open_reader, write,"),
    ({"executions_per_trial": 0}, ArgumentError, "executions_per_trial=0 is less than 1."),
    ({"keep_best": -1}, ArgumentError, "keep_best=-1 is less than 0."),
    ({"max_failed_trials": 0}, ArgumentError, "max_failed_trials=0 is less than 1."),
    ({"backup_every": -1}, ArgumentError, "backup_every=-1 is less than 0. Pass how long a backup"),
    ({"backup_every": "1m"}, ArgumentTypeError, "backup_every='1m' is not a number of seconds."),
    ({"overwrite": "yes"}, ArgumentError, "overwrite='yes' is not a choice."),
]

SEARCH = [
    ({"epochs": 0}, ArgumentError, "epochs=0 is less than 1. Pass 1 or more epochs."),
    ({"epochs": "10"}, ArgumentTypeError, "epochs='10' of type str is not a whole number."),
    ({"initial_epoch": 2}, ArgumentError, "initial_epoch=2 leaves none of epochs=2 to train."),
    ({"batchsize": 4}, ArgumentTypeError, "Did you mean 'batch_size'?"),
    ({"workers": 2}, ArgumentTypeError, "Did you mean 'n_workers'?"),
    ({"epoch": 4}, ArgumentTypeError, "'epoch', which Model.fit does not take. Did you mean"),
    ({"verbose": 3}, ArgumentError, "verbose=3 is not a choice. Pass one of 'auto', 0, 1, 2."),
    ({"verbose": True}, ArgumentError, "verbose=True is not a choice."),
    ({"n_trials": 0}, ArgumentError, "n_trials=0 is less than 1."),
    ({"timeout": -1}, ArgumentError, "timeout=-1 is less than 0. Pass a positive number"),
    ({"x": None}, ArgumentTypeError, "x=None is no training data."),
    ({"x": EMPTY}, ArgumentError, "x is empty: there is nothing to train on."),
    ({"x": lambda: EMPTY}, ArgumentError, "x is empty: there is nothing to train on."),
    ({"x": DATASET.take(0), "y": None}, ArgumentError, "x is empty: there is nothing to train on."),
    ({"x": DATASET.filter(lambda x, y: False), "y": None}, ArgumentError, "x is empty:"),
    ({"x": DATASET}, ArgumentError, "batches hold the targets already. Leave y out."),
    ({"x": DATASET.repeat(), "y": None}, ArgumentError, "x has no end (repeat()), so an epoch"),
    ({"x": (row for row in X), "y": None}, ArgumentTypeError, "which can be read only once,"),
    ({"y": Y[:5]}, ArgumentError, "x has 8 rows and y has 5. Pass as many targets as inputs."),
    ({"sample_weight": np.ones(5)}, ArgumentError, "x has 8 rows and sample_weight has 5."),
    ({"validation_data": None}, ArgumentError, "needs validation, and there is none. Pass"),
    ({"validation_data": (X,) * 4}, ArgumentError, "validation_data has 4 parts. Pass (x,),"),
    ({"validation_data": (EMPTY, Y[:0])}, ArgumentError, "there is nothing to validate on."),
    (
        {"validation_data": (X, Y[:3])},
        ArgumentError,
        "validation_data[0] has 8 rows and [1] has 3.",
    ),
    ({"validation_data": DATASET.repeat()}, ArgumentError, "Pass validation_steps=,"),
    ({"validation_freq": 3}, ArgumentError, "validation_freq=3 is more than epochs=2:"),
    ({"steps_per_execution": 0}, ArgumentError, "steps_per_execution=0 is less than one step."),
    (
        {"steps_per_execution": "epoch"},
        ArgumentTypeError,
        "'epoch' is no whole number. Pass",
    ),
    ({"steps_per_execution": True}, ArgumentTypeError, "True is no whole number."),
    ({"batch_size": 2.5}, ArgumentTypeError, "batch_size=2.5 of type float is not a whole number."),
    ({"validation_batch_size": 0}, ArgumentError, "validation_batch_size=0 is less than 1."),
    ({"validation_split": 1.0}, ArgumentError, "validation_split=1.0 is no fraction of the data."),
    ({"validation_split": "a"}, ArgumentError, "validation_split='a' is no fraction of the data."),
    (
        {"x": DATASET, "y": None, "validation_data": None, "validation_split": 0.5},
        ArgumentError,
        "works for arrays, not for x of type _BatchDataset. Pass validation_data instead.",
    ),
    ({"on_trial_end": [3]}, ArgumentTypeError, "on_trial_end holds 3, which cannot be called."),
    ({"on_trial_end": len}, ArgumentTypeError, "which cannot be called with a study and a trial"),
    (
        {"on_trial_end": [keras.callbacks.EarlyStopping()]},
        ArgumentTypeError,
        "which cannot be called. Pass Keras callbacks as callbacks=.",
    ),
    ({"callbacks": "early"}, ArgumentTypeError, "callbacks holds 'early', which is no keras"),
    ({"callbacks": [3]}, ArgumentTypeError, "callbacks holds 3, which is no keras Callback. Pass"),
    ({"callbacks": [keras.callbacks.EarlyStopping]}, ArgumentTypeError, "is no keras Callback."),
    (
        {"callbacks": [UncopiedCallback()]},
        ArgumentError,
        "cannot be copied for each trial (RuntimeError: there is only one). Pass a function that "
        "takes the trial and returns a new one: callbacks=[lambda trial: UncopiedCallback(...)].",
    ),
    (
        {"callbacks": [keras.callbacks.BackupAndRestore("backups")]},
        ArgumentError,
        "BackupAndRestore, which would start each trial from the weights of another.",
    ),
]

FOLDS = [
    ({"cv": 1}, ArgumentError, "n_splits=1). Pass a number of folds, a splitter"),
    ({"cv": "5"}, ArgumentTypeError, "cv='5' is no splitter. Pass a number of folds, a splitter"),
    ({"groups": Y}, ArgumentError, "groups came without cv, which splits by them."),
    ({"cv": 3, "validation_data": (X, Y)}, ArgumentError, "validation_data came with cv=, which"),
    ({"cv": 3, "validation_split": 0.5}, ArgumentError, "Leave validation_split out, or pass"),
    ({"cv": []}, ArgumentError, "cv= gave no folds, or one that does not hold numbers of rows"),
    ({"cv": [1, 2]}, ArgumentError, "cv= cannot split the data (cannot unpack"),
    ({"cv": [([0, 1], [8])]}, ArgumentError, "does not hold numbers of rows from 0 to 7."),
    ({"cv": [([0.5], [1])]}, ArgumentError, "does not hold numbers of rows from 0 to 7."),
    ({"cv": 9}, ArgumentError, "of samples: n_samples=8). Pass a number of folds,"),
    (
        {"cv": 3, "x": DATASET, "y": None},
        ArgumentTypeError,
        "which x of type _BatchDataset does not let",
    ),
    (
        {"cv": 3, "x": Batches(), "y": None},
        ArgumentTypeError,
        "or validation_data= in place",
    ),
    ({"cv": 3, "x": list(range(8))}, ArgumentTypeError, "x of type int does not let it."),
]

PRUNING = [
    ({"monitor": 3}, ArgumentTypeError, "monitor=3 is not a name."),
    (
        {"monitor": "val_score"},
        ArgumentError,
        "cannot tell whether 'val_score' should grow or fall.",
    ),
    (
        {"monitor": "val_loss", "interval": 0},
        ArgumentError,
        "interval=0 is not a number of epochs.",
    ),
    ({"monitor": "val_loss", "interval": 1.5}, ArgumentError, "interval=1.5 is not a number of"),
    (
        {"monitor": "val_loss", "direction": "down"},
        ArgumentError,
        "direction='down' is not a choice.",
    ),
]

FIRST_TRIAL = [
    ({"build": for_keras_tuner}, BuilderError, "Pass from_keras_tuner(build_model), which gives"),
    ({"build": no_model}, BuilderError, "returned None (is its `return model` missing?)."),
    ({"build": a_layer}, BuilderError, "returned Dense. Return a compiled keras.Model, or"),
    ({"build": uncompiled}, BuilderError, "uncompiled. Call model.compile(optimizer=..., loss="),
    ({"build": a_triple}, BuilderError, "returned Sequential and dict and dict. Return a compiled"),
    ({"build": a_number}, BuilderError, "returned Sequential and int. Return a compiled"),
    ({"build": giving(x=X)}, ArgumentTypeError, "the same for all trials. Pass x= to search();"),
    ({"build": giving(verbose=1)}, ArgumentTypeError, "Pass verbose= to search();"),
    ({"build": giving(batchsize=4)}, ArgumentTypeError, "Did you mean 'batch_size'?"),
    ({"build": giving(batch_size=0)}, ArgumentError, "batch_size=0 is less than 1. Pass how many"),
    (
        {"build": giving(validation_freq=3)},
        ArgumentError,
        "validation_freq=3 is more than epochs=2:",
    ),
    (
        {"build": giving(callbacks=keras.callbacks.BackupAndRestore("backups"))},
        ArgumentError,
        "BackupAndRestore, which would start each trial from the weights of another.",
    ),
    (
        {"objective": "val_acuracy", "direction": "maximize"},
        MetricNotFoundError,
        "logs: accuracy, loss, val_accuracy, val_loss. Did you mean 'val_accuracy'?",
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
        yield
    assert type(got.value) is kind
    message = str(got.value)
    assert re.search(rf"(?<!\w){re.escape(text)}(?!\w)", message), message
    assert "\n" not in message


def refused(make_tuner, options, fit, kind, text):
    """Make a tuner, search, and check the error that comes."""
    arguments = {"x": X, "y": Y, "validation_data": (X, Y), "epochs": 2, "verbose": 0, **fit}
    tuner = make_tuner(**{"storage": optuna.storages.InMemoryStorage(), **options})
    with refusal(kind, text):
        tuner.search(**arguments)


@pytest.mark.parametrize(("options", "kind", "text"), CONSTRUCTOR)
def test_a_wrong_argument_of_the_constructor(make_tuner, tmp_path, options, kind, text):
    """The constructor refuses what cannot work, and leaves no file behind."""
    with refusal(kind, text):
        make_tuner(**options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fit", "kind", "text"), SEARCH)
def test_a_wrong_argument_of_search(make_tuner, tmp_path, epochs_trained, fit, kind, text):
    """search() refuses what cannot work before it opens a study."""
    refused(make_tuner, {"storage": None}, fit, kind, text)
    assert epochs_trained == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fit", "kind", "text"), FOLDS)
def test_wrong_folds(make_tuner, tmp_path, epochs_trained, fit, kind, text):
    """search() refuses folds that cannot be, and what cannot go with them."""
    refused(make_tuner, {"storage": None}, {"validation_data": None, **fit}, kind, text)
    assert epochs_trained == []
    assert list(tmp_path.iterdir()) == []


def test_folds_validate(make_tuner, tmp_path, epochs_trained):
    """An objective of the training rows is refused beside folds, which leave rows out."""
    fit = {"validation_data": None, "cv": 2}
    refused(make_tuner, {"objective": "loss"}, fit, ArgumentError, "Pass objective='val_loss', or")
    assert epochs_trained == []


def test_folds_without_scikit_learn(make_tuner, monkeypatch):
    """Folds name the extra that they need."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fit, text = {"validation_data": None, "cv": 2}, 'pip install "kerastune_optuna[examples]"'
    refused(make_tuner, {}, fit, MissingExtraError, text)


def test_a_split_beside_folds(make_tuner, epochs_trained):
    """A builder that gives validation_split for the data of a fold is refused."""
    fit = {"validation_data": None, "cv": 2}
    options = {"build": giving(validation_split=0.5)}
    refused(make_tuner, options, fit, ArgumentError, "build_model returned validation_split=0.5")
    assert epochs_trained == []


@pytest.mark.parametrize(("arguments", "kind", "text"), PRUNING)
def test_a_wrong_argument_of_the_pruning_callback(arguments, kind, text):
    """The callback refuses in its constructor what cannot work."""
    with refusal(kind, text):
        PruningCallback(optuna.trial.FixedTrial({}), **arguments)


BATCHES = [
    ({"x": DATASET, "y": None, "batch_size": 4}, "to tune it, pass a function of the trial"),
    (
        {"validation_data": DATASET, "validation_batch_size": 4},
        "validation_batch_size came with validation_data of type _BatchDataset, which makes",
    ),
    ({"x": Batches(), "y": None, "batch_size": 4}, "ignore it. Leave batch_size out;"),
]


@pytest.mark.parametrize(("fit", "text"), BATCHES)
def test_a_size_for_what_is_in_batches(make_tuner, epochs_trained, fit, text):
    """A size of batches that Keras would ignore in silence ends the search before it trains."""
    refused(make_tuner, {}, fit, ArgumentError, text)
    assert epochs_trained == []


def test_targets_that_the_loss_needs(make_tuner, epochs_trained):
    """A missing y ends the search before the model trains that cannot do without."""
    refused(make_tuner, {}, {"y": None}, ArgumentError, "y=None")
    assert epochs_trained == []


def two_outputs(kind):
    """Return a builder of a model with two outputs, in a dict or in a list."""

    def build(trial):
        x = keras.Input((4,))
        trial.suggest_int("units", 2, 8)
        outputs = [keras.layers.Dense(1, name=name)(x) for name in ("color", "size")]
        named = dict(zip(("color", "size"), outputs, strict=True))
        model = keras.Model(x, named if kind is dict else outputs)
        model.compile("sgd", {"color": "mse", "size": "mse"})
        return model

    return build


GOOD, BAD = {"color": Y, "size": Y}, {"colour": Y, "size": Y}
NAMED = {
    "y": {"y": BAD},
    "x": {"x": tf.data.Dataset.from_tensor_slices((X, BAD)).batch(4), "y": None},
    "validation_data": {"validation_data": (X, BAD)},
}


@pytest.mark.parametrize(("name", "kind"), [("y", dict), ("x", list), ("validation_data", dict)])
def test_targets_for_no_output(make_tuner, epochs_trained, name, kind):
    """A name of targets that no output has ends the search, which names the outputs."""
    fit = {"y": GOOD, "validation_data": (X, GOOD), **NAMED[name]}
    options = {"build": two_outputs(kind), "objective": "val_loss"}
    text = f"{name} has targets for 'colour', and the outputs of the model are 'color', 'size'."
    refused(make_tuner, options, fit, ArgumentError, text)
    assert epochs_trained == []


@pytest.mark.parametrize(("options", "kind", "text"), FIRST_TRIAL)
def test_what_only_a_model_shows(make_tuner, epochs_trained, options, kind, text):
    """What is known once the first model is built ends the search before that model trains."""
    refused(make_tuner, options, {}, kind, text)
    assert epochs_trained == []


def test_each_error_is_a_builtin_too():
    """Whoever catches what Python itself would raise catches ours."""
    for kind, builtin in [
        (ArgumentError, ValueError),
        (ArgumentTypeError, TypeError),
        (BuilderError, TypeError),
        (MetricNotFoundError, LookupError),
        (StorageError, ConnectionError),
    ]:
        assert issubclass(kind, builtin)


def test_a_directory_that_cannot_be_written(make_tuner, tmp_path, epochs_trained):
    """A folder below a file cannot be made, and the error says so."""
    (tmp_path / "file").touch()
    options = {"directory": tmp_path / "file" / "tuning", "storage": None}
    refused(make_tuner, options, {}, StorageError, "cannot be written: Not a directory. Pass a")
    assert epochs_trained == []


UNREACHABLE = [
    ("sqlite:////no/such/folder/study.db", "unable to open database file"),
    ("postgresql+psycopg://me:secret@127.0.0.1:1/none", "storage='postgresql+psycopg://me:***@"),
    ("nosuchdb://me:secret@127.0.0.1/none", "storage='nosuchdb://me:***@127.0.0.1/none'"),
]


@pytest.mark.parametrize(("url", "text"), UNREACHABLE)
def test_a_storage_that_does_not_connect(make_tuner, epochs_trained, url, text):
    """The error shows the URL and never the password, as storage/test_url.py has it."""
    with pytest.raises(StorageError) as got:
        make_tuner(storage=url).search(X, Y, validation_data=(X, Y))
    assert text in str(got.value)
    assert "secret" not in str(got.value)
    assert got.value.__cause__ is None
    assert "\n" not in str(got.value)
    assert epochs_trained == []


@pytest.mark.parametrize("text", ["host=db password=secret", "postgresql://me:p@ss:secret@host/db"])
def test_a_text_with_a_password_is_not_shown(make_tuner, text):
    """A storage that is no URL may hold a password, and is not repeated."""
    with pytest.raises(ArgumentError) as got:
        make_tuner(storage=text)
    assert "secret" not in str(got.value)


def test_good_input_is_not_refused(make_tuner, epochs_trained):
    """The data of these tests trains where nothing is wrong with the arguments."""
    tuner = make_tuner(n_trials=1)
    tuner.search(X, Y, validation_data=(X, Y), epochs=1, verbose=0)
    assert epochs_trained
    assert len(tuner.study.trials) == 1
