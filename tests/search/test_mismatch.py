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
from kerastune_optuna._study import parts_of
from tests.support.untrained import Untrained, X, cheap, run, tuner_in

FLAT = [{"val_mae": 0.5}]


def narrow(trial):
    """Ask for one of two activations."""
    trial.suggest_categorical("act", ["relu", "tanh"])
    return Untrained(4, FLAT)


def plain(trial):
    """Ask for the units alone."""
    return Untrained(trial.suggest_int("units", 2, 4), FLAT)


def with_activation(trial):
    """Ask for an activation as well."""
    trial.suggest_categorical("act", ["relu", "tanh"])
    return plain(trial)


def wide(trial):
    """Ask for one of three activations."""
    trial.suggest_categorical("act", ["relu", "tanh", "elu"])
    return Untrained(4, FLAT)


def logarithmic(trial):
    """Ask for units on another scale."""
    return Untrained(trial.suggest_int("units", 2, 4, log=True), FLAT)


def as_float(trial):
    """Ask for units of another type."""
    return Untrained(int(trial.suggest_float("units", 2, 4)), FLAT)


@pytest.mark.filterwarnings("ignore:.*has changed")
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
    ids=["choices", "scale", "type"],
)
def test_a_parameter_that_changed_ends_the_search_at_once(tmp_path, before, after, told):
    """Its line has the name, what was and what is, and the way out; one trial failed, not ten."""
    options = cheap()
    run(tuner_in(tmp_path, before, "val_mae", n_trials=2, **options))
    tuner = tuner_in(tmp_path, after, "val_mae", n_trials=20, **options)
    with pytest.raises(StudyMismatchError, match=told) as caught:
        run(tuner)
    assert "study_name=" in str(caught.value)
    assert "overwrite=True" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert [trial.state.name for trial in tuner.study.trials].count("FAIL") == 1


def test_a_builder_that_raises_a_value_error_of_its_own_keeps_it(tmp_path):
    """Nothing is said of parameters where they are what they were, and nothing is called twice."""
    calls, options = [], cheap()

    def build(trial):
        calls.append(trial.number)
        if trial.suggest_int("units", 2, 4) > 1:
            raise ValueError("no such units")

    run(tuner_in(tmp_path, plain, "val_mae", n_trials=2, **options))
    tuner = tuner_in(tmp_path, build, "val_mae", n_trials=3, max_failed_trials=1, **options)
    with (
        pytest.warns(UserWarning, match="changed"),
        pytest.raises(TunerError, match="no such units"),
    ):
        run(tuner)
    assert len(calls) == 1


@pytest.mark.filterwarnings("ignore:.*has changed")
def test_a_parameter_that_was_added_is_named(tmp_path):
    """Each way to a model of an old trial says which parameter it lacks, and how to go on."""
    run(tuner_in(tmp_path, plain, "val_mae", n_trials=1))
    tuner = tuner_in(tmp_path, with_activation, "val_mae")
    for use in (tuner.best_model, lambda: tuner.refit(X, X, verbose=0)):
        with pytest.raises(StudyMismatchError, match=r"for 'act', which trial . did not") as caught:
            use()
        assert "build_model.default_params = lambda: {'act': ...}" in str(caught.value)
        assert "study_name=" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def trained(trial):
    """Return a classifier that is really trained."""
    layers = [keras.Input((4,)), keras.layers.Dense(trial.suggest_int("units", 2, 4), "relu")]
    model = keras.Sequential([*layers, keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def with_default(trial):
    """Ask for another activation than before, of which the default is what there was."""
    trial.suggest_categorical("act", ["relu", "tanh"])
    return trained(trial)


with_default.default_params = lambda: {"act": "relu"}


@pytest.mark.slow
def test_old_trials_have_the_default_that_the_builder_names(search, make_tuner, data):
    """Their models come to their values again, and they are trained again to the digit."""
    before = search(trained, n_trials=1, fit={"epochs": 1})
    tuner, (x, y, validation) = make_tuner(with_default), data
    assert tuner.best_model().evaluate(*validation, verbose=0)[1] == before.best_value
    with pytest.warns(UserWarning, match="refit.. trains what it returns now"):
        _, history = tuner.refit(x, y, 1, verbose=0)
    _, expected = before.refit(x, y, 1, verbose=0)
    assert history.history == expected.history


def test_a_confirmation_has_the_default_too(tmp_path, monkeypatch):
    """Executions of a configuration that lacks a parameter get what its trial had."""
    run(tuner_in(tmp_path, plain, "val_mae", n_trials=1))
    monkeypatch.setattr(with_activation, "default_params", lambda: {"act": "relu"}, raising=False)
    tuner = tuner_in(tmp_path, with_activation, "val_mae")
    with pytest.warns(UserWarning, match="changed"):
        tuner.confirm(1, 2, X, X, (X, X), epochs=1, verbose=0)
    study = parts_of(tuner.study)[tuner.confirmation.study_name]
    assert {trial.params["act"] for trial in study.trials} == {"relu"}


def test_a_parameter_that_was_removed_is_named(tmp_path):
    """The line begins with it, and not with rows of shapes."""
    run(tuner_in(tmp_path, plain, "val_mae", n_trials=1))
    tuner = tuner_in(tmp_path, lambda trial: Untrained(7, FLAT), "val_mae")
    match = r"^build_model no longer asks for 'units', which"
    with pytest.raises(WeightsError, match=match) as got:
        tuner.best_model()
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
