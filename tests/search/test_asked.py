"""A builder that asks for other parameters than the trials before: one line, and a way out."""

from __future__ import annotations

import keras
import pytest

from kerastune_optuna import (
    ArgumentError,
    StudyMismatchError,
    TunerError,
    WeightsError,
)
from kerastune_optuna._study import beside
from tests.support.untrained import Untrained, run, tuner_in


def build_model(trial, units=4, activation="relu"):
    """Return a classifier that depends on what was asked for."""
    layers = [keras.Input((4,)), keras.layers.Dense(units, activation)]
    model = keras.Sequential([*layers, keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def narrow(trial):
    """Ask for one of two activations."""
    return build_model(trial, activation=trial.suggest_categorical("act", ["relu", "tanh"]))


def plain(trial):
    """Ask for the units alone."""
    return build_model(trial, trial.suggest_int("units", 2, 4))


def with_activation(trial):
    """Ask for an activation as well."""
    units = trial.suggest_int("units", 2, 4)
    return build_model(trial, units, trial.suggest_categorical("act", ["relu", "tanh"]))


def wide(trial):
    """Ask for one of three activations."""
    return build_model(trial, activation=trial.suggest_categorical("act", ["relu", "tanh", "elu"]))


def logarithmic(trial):
    """Ask for units on another scale."""
    return build_model(trial, trial.suggest_int("units", 2, 4, log=True))


def as_float(trial):
    """Ask for units of another type."""
    return build_model(trial, int(trial.suggest_float("units", 2, 4)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*build_model.*changed")
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            narrow,
            wide,
            r"'act' as one of 'relu', 'tanh', 'elu'.* has it as one of 'relu', 'tanh'\.",
        ),
        (plain, logarithmic, "'units' as 2 to 4 on a log scale.* has it as 2 to 4"),
        (plain, as_float, "'units' as 2.0 to 4.0, and the study has it as 2 to 4"),
    ],
)
def test_a_parameter_that_changed_ends_the_search_at_once(search, make_tuner, before, after, told):
    """Its line has the name, what was and what is, and the way out; one trial failed, not ten."""
    search(before)
    tuner = make_tuner(after, n_trials=20)
    with pytest.raises(StudyMismatchError, match=told) as caught:
        search(tuner=tuner)
    assert "study_name=" in str(caught.value)
    assert "overwrite=True" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert [trial.state.name for trial in tuner.study.trials].count("FAIL") == 1


@pytest.mark.slow
def test_a_builder_that_raises_a_value_error_of_its_own_keeps_it(search, make_tuner):
    """Nothing is said of parameters where they are what they were, and nothing is called twice."""
    calls = []

    def build(trial):
        calls.append(trial.number)
        if trial.suggest_int("units", 2, 4) > 1:
            raise ValueError("no such units")

    search(plain)
    tuner = make_tuner(build, n_trials=3, max_failed_trials=1)
    with (
        pytest.warns(UserWarning, match="changed"),
        pytest.raises(TunerError, match="no such units"),
    ):
        search(tuner=tuner)
    assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*build_model has changed")
@pytest.mark.parametrize("use", ["best_model", "refit"])
def test_a_parameter_that_was_added_is_named(search, make_tuner, data, use):
    """Each way to a model of an old trial says which parameter it lacks, and how to go on."""
    search(plain)
    tuner, (x, y, _) = make_tuner(with_activation), data
    uses = {
        "best_model": tuner.best_model,
        "refit": lambda: tuner.refit(x, y, verbose=0),
    }
    with pytest.raises(StudyMismatchError, match=r"for 'act', which trial . did not") as caught:
        uses[use]()
    assert "build_model.default_params = lambda: {'act': ...}" in str(caught.value)
    assert "study_name=" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def defaulted():
    """Give the builder with a parameter more, and the value that it had before."""
    with_activation.default_params = lambda: {"act": "relu"}
    yield with_activation
    del with_activation.default_params


@pytest.mark.slow
def test_old_trials_have_the_default_that_the_builder_names(search, make_tuner, data, defaulted):
    """Their models come to their values again, and they are trained again to the digit."""
    before = search(plain)
    tuner, (x, y, validation) = make_tuner(defaulted), data
    assert tuner.best_model().evaluate(*validation, verbose=0)[1] == before.best_value
    with pytest.warns(UserWarning, match="refit.. trains what it returns now"):
        _, history = tuner.refit(x, y, 1, verbose=0)
    _, expected = before.refit(x, y, 1, verbose=0)
    assert history.history == expected.history


@pytest.mark.slow
def test_a_confirmation_has_the_default_too(search, make_tuner, data, defaulted):
    """Executions of a configuration that lacks a parameter get what its trial had."""
    search(plain)
    x, y, validation = data
    tuner = make_tuner(defaulted)
    with pytest.warns(UserWarning, match="changed"):
        tuner.confirm(1, 2, x, y, validation, epochs=1, verbose=0)
    study = beside(tuner.study, tuner.confirmation.study_name)
    assert {trial.params["act"] for trial in study.trials} == {"relu"}


@pytest.mark.slow
def test_a_parameter_that_was_removed_is_named(search, make_tuner):
    """The line begins with it, and not with rows of shapes."""
    search(plain)
    with pytest.raises(
        WeightsError, match=r"^build_model no longer asks for 'units', which"
    ) as got:
        make_tuner(lambda trial: build_model(trial, 7)).best_model()
    assert len(str(got.value).splitlines()) == 1


def test_choices_that_are_equal_are_refused(tmp_path):
    """A study would say False of a model that had 0: the first trial says so, whatever it drew."""

    def build(trial):
        rate = trial.suggest_categorical("dropout", [False, 0, 0.5])
        return Untrained(4, [{"val_mae": rate}])

    with pytest.raises(ArgumentError, match="lets 'dropout' be False or 0, which are equal"):
        run(tuner_in(tmp_path, build, "val_mae", n_trials=1))


def test_a_choice_may_be_there_twice(tmp_path):
    """A choice that is listed twice, to be drawn more often, is the same each time."""

    def build(trial):
        return Untrained(trial.suggest_categorical("units", [4, 4, 8]), [{"val_mae": 0.5}])

    tuner = run(tuner_in(tmp_path, build, "val_mae", n_trials=1))
    assert tuner.best_value == 0.5
