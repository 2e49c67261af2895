"""Choices of any kind: the study holds their names, the builder gets the objects."""

import keras
import numpy as np
import optuna
import pytest

from kerastune_optuna import ArgumentError, ArgumentTypeError, choice
from tests.support.faults import states
from tests.support.models import Spy

X, Y = np.zeros((8, 4), "float32"), np.zeros(8)


def halved(x):
    return x / 2


def build(trial):
    activation = choice(trial, "activation", {"relu": "relu", "halved": halved})
    optimizer = choice(trial, "optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
    layers = [keras.Input((4,)), keras.layers.Dense(2, activation), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    rate = trial.suggest_float("rate", 1e-3, 1e-1)
    model.compile(optimizer(rate), "mse", run_eagerly=True)  # a graph takes longer
    return model


@pytest.mark.nightly
def test_tpe_chooses_among_functions_and_classes(search, make_tuner):
    """After TPE's ten trials by chance it still meets no error, and the best one is rebuilt."""
    fit = {"x": X, "y": Y, "validation_data": (X, Y), "epochs": 1}
    search(build, "val_loss", n_trials=16, sampler="tpe", backup_every=None, fit=fit)
    tuner = make_tuner(build, "val_loss")
    assert states(tuner) == ["COMPLETE"] * 16
    params = [trial.params for trial in tuner.study.trials]
    assert {one["activation"] for one in params} == {"relu", "halved"}
    assert {one["optimizer"] for one in params} == {"SGD", "Adam"}
    model = tuner.best_model()
    assert type(model.optimizer).__name__ == tuner.best_params["optimizer"]
    assert model.layers[0].activation.__name__ == tuner.best_params["activation"]


def build_of_classes(trial):
    optimizer = trial.suggest_categorical("opt", [keras.optimizers.Adam, keras.optimizers.SGD])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer(), "mse")
    return model


def of_the_data(trial):
    return trial.suggest_categorical("opt", [list, tuple]) and X


IN_MEMORY = optuna.storages.InMemoryStorage()


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
@pytest.mark.parametrize(
    ("build", "x", "storage"),
    [(build_of_classes, X, None), (build_of_classes, X, IN_MEMORY), (build, of_the_data, None)],
)
def test_classes_that_no_study_holds_are_refused_before_training(search, build, x, storage):
    """One line names choice(), with a database and in memory, for a function of the data too."""
    seen = []
    fit = {"x": x, "y": Y, "validation_data": (X, Y), "callbacks": [Spy(seen)]}
    with pytest.raises(ArgumentTypeError, match=r"'opt' may be <class .*choice\(trial, 'opt'"):
        search(build, "val_loss", fit=fit, storage=storage)
    assert seen == []


def test_every_plain_key_comes_back():
    """What the database holds of a key finds the object again."""
    study = optuna.create_study(storage="sqlite://")
    trial, keys = study.ask(), ["text", 3, 0.1, True, None]
    for key in keys:
        assert choice(trial, f"of {key}", {key: halved}) is halved
    (stored,) = study.get_trials()
    for key in keys:
        assert choice(stored, f"of {key}", {key: halved}) is halved
    assert stored.params == {f"of {key}": key for key in keys}


def test_a_list_takes_names_of_functions_and_classes():
    """Functions and classes are called by their names, and plain values are themselves."""
    choices = [halved, keras.layers.Dense, "relu", None]
    for name, one in zip(["halved", "Dense", "relu", None], choices, strict=True):
        assert choice(optuna.trial.FixedTrial({"chosen": name}), "chosen", choices) is one


@pytest.mark.parametrize(
    ("choices", "kind", "text"),
    [
        ({}, ArgumentError, "choices of 'chosen' is empty. Pass the objects by their names."),
        ([], ArgumentError, "choices of 'chosen' is empty"),
        ("relu", ArgumentTypeError, "choices='relu' of type str of 'chosen' is not a dict. Pass"),
        ({1, 2}, ArgumentTypeError, "of type set of 'chosen' is not a dict"),
        ({(1, 2): halved}, ArgumentTypeError, "has the key (1, 2) of type tuple, which cannot be"),
        ([halved, halved], ArgumentError, "holds 'halved' twice. Pass a dict with a name for each"),
        ([lambda x: x, lambda x: -x], ArgumentError, "holds '<lambda>' twice"),
        ([(1, 2)], ArgumentTypeError, "holds (1, 2), without a name. Pass a dict with a name for"),
    ],
)
def test_what_cannot_be_named_is_refused(choices, kind, text):
    """One line says what came and how to name it."""
    with pytest.raises(kind) as got:
        choice(optuna.trial.FixedTrial({"chosen": 1}), "chosen", choices)
    assert type(got.value) is kind
    assert text in str(got.value)
    assert len(str(got.value).splitlines()) == 1


def test_a_name_in_place_of_the_trial_is_refused():
    """The trial comes first."""
    with pytest.raises(ArgumentTypeError, match=r"trial='chosen' suggests nothing. Pass an Optuna"):
        choice("chosen", "chosen", [halved])
