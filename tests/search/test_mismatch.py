"""A builder that asks for other parameters than the trials before: one line, and a way out."""

import pytest

from kerastune_optuna import ArgumentError, StudyMismatchError, TunerError, WeightsError
from kerastune_optuna._study import StudyRecord
from tests.support.faults import failed
from tests.support.untrained import Untrained, X, has_best_weights, run, tuner_in

FLAT = [{"val_mae": 0.5}]


def plain(trial):
    return Untrained(trial.suggest_int("units", 2, 4), FLAT)


def with_activation(trial):
    trial.suggest_categorical("act", ["relu", "tanh"])
    return plain(trial)


def asking(ask):
    """Return a builder that asks for a parameter, of which it makes nothing."""

    def build(trial):
        ask(trial)
        return Untrained(4, FLAT)

    return build


@pytest.mark.filterwarnings("ignore:.*has changed")
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            lambda trial: trial.suggest_categorical("act", ["relu", "tanh"]),
            lambda trial: trial.suggest_categorical("act", ["relu", "tanh", "elu"]),
            r"'act' as one of 'relu', 'tanh', 'elu'.* has it as one of 'relu', 'tanh'\.",
        ),
        (
            lambda trial: trial.suggest_int("units", 2, 4),
            lambda trial: trial.suggest_int("units", 2, 4, log=True),
            "'units' as 2 to 4 on a log scale.* has it as 2 to 4",
        ),
        (
            lambda trial: trial.suggest_int("units", 2, 4),
            lambda trial: trial.suggest_float("units", 2, 4),
            "'units' as 2.0 to 4.0, but the study has it as 2 to 4",
        ),
    ],
    ids=["choices", "scale", "type"],
)
def test_a_parameter_that_changed_ends_the_search_at_once(quick, before, after, told):
    """Its line has the name, what was and what is, and the way out; one trial failed, not ten."""
    run(quick(asking(before), n_trials=2))
    tuner = quick(asking(after), n_trials=20)
    with pytest.raises(StudyMismatchError, match=told) as caught:
        run(tuner)
    assert "study_name=" in str(caught.value)
    assert "overwrite=True" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(failed(tuner)) == 1


def test_a_builder_that_raises_a_value_error_of_its_own_keeps_it(quick):
    """Nothing is said of parameters where they are what they were, and nothing is called twice."""
    calls = []

    def build(trial):
        calls.append(trial.number)
        if trial.suggest_int("units", 2, 4) > 1:
            raise ValueError("no such units")

    run(quick(plain, n_trials=2))
    tuner = quick(build, n_trials=3, max_failed_trials=1)
    changed = pytest.warns(UserWarning, match="changed")
    with changed, pytest.raises(TunerError, match="no such units"):
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


def test_old_trials_have_the_default_that_the_builder_names(tmp_path):
    """Their models come to their values again, and are trained and confirmed with it."""

    def build(trial):
        more = trial.suggest_categorical("more", [9, 0])
        return Untrained(trial.suggest_int("units", 2, 4) + more, FLAT)

    build.default_params = lambda: {"more": 0}
    size = run(tuner_in(tmp_path, plain, "val_mae", n_trials=1)).best_model().count_params()
    tuner = tuner_in(tmp_path, build, "val_mae")
    with pytest.warns(UserWarning, match="changed"):
        assert has_best_weights(tuner)
    with pytest.warns(UserWarning, match="refit.. trains what it returns now"):
        assert tuner.refit(X, X, 1, verbose=0)[0].count_params() == size
    with pytest.warns(UserWarning, match="changed"):
        tuner.confirm(1, 2, X, X, (X, X), verbose=0)
    study = StudyRecord(tuner.study).parts[tuner.confirmation.study_name]
    assert {trial.params["more"] for trial in study.trials} == {0}


def test_a_parameter_that_was_removed_is_named(tmp_path):
    """The line begins with it, and not with rows of shapes."""
    run(tuner_in(tmp_path, plain, "val_mae", n_trials=1))
    tuner = tuner_in(tmp_path, lambda trial: Untrained(7, FLAT), "val_mae")
    match = r"^build_model no longer asks for 'units', which"
    with pytest.raises(WeightsError, match=match) as got:
        tuner.best_model()
    assert len(str(got.value).splitlines()) == 1


def test_choices_that_are_equal_are_refused(quick):
    """A study would say False of a model that had 0; what is listed twice is the same each time."""
    build = asking(lambda trial: trial.suggest_categorical("dropout", [False, 0, 0.5]))
    with pytest.raises(ArgumentError, match="lets 'dropout' be False or 0, which are equal"):
        run(quick(build, n_trials=1))
    build = asking(lambda trial: trial.suggest_categorical("units", [4, 4, 8]))
    assert run(quick(build, n_trials=1, study_name="twice")).best_value == 0.5
