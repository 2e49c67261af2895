"""A study that goes on with other data or arguments says so, and takes no old value over."""

from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

from kerastune_optuna import StudyMismatchError
from kerastune_optuna._data.fingerprint import measure
from tests.support.untrained import Untrained, run
from tests.workers.test_processes import policy
from tests.zoo.data import Batches

X, Y = np.arange(24, dtype="float32").reshape(8, 3), np.arange(8)


@pytest.fixture
def make_tuner(quick):
    return partial(quick, n_trials=2, pruner="none")


def one_choice(trial):
    return model_of(trial.suggest_int("units", 1, 2))


def model_of(units):
    return Untrained(units, [{"val_mae": 1 / units}] * 3)


def test_other_validation_data_is_an_error(search, make_tuner, data):
    """Before any training, and it says what to do; a study that has no result goes on."""
    search()
    _, _, (x, y) = data
    tuner = make_tuner(n_trials=3)
    with pytest.raises(StudyMismatchError, match="other validation data") as caught:
        search(tuner=tuner, fit={"validation_data": (x + 1, y)})
    assert "another study_name, or overwrite=True" in str(caught.value)
    assert "If train_test_split drew these rows, pass it random_state=." in str(caught.value)
    assert len(tuner.study.trials) == 2
    search(tuner=make_tuner(overwrite=True), fit={"validation_data": (x + 1, y)})


def test_another_split_is_other_validation_data(search, make_tuner, data):
    """Rows that are kept of the training data are compared, also those of SciPy without a []."""
    x, y, _ = data
    given = {"x": scipy.sparse.coo_matrix(x), "validation_data": None, "validation_split": 0.25}
    search(fit=given)
    search(tuner=make_tuner(), fit=given)
    for other in ({"validation_split": 0.5}, {"y": y[::-1]}):
        with pytest.raises(StudyMismatchError, match="other validation data"):
            search(tuner=make_tuner(), fit={**given, **other})


TOLD = {"epochs was 2 and is 3": {"epochs": 3}, "batch_size was None and is 16": {"batch_size": 16}}
TOLD["shuffle was None and is False"] = {"shuffle": False}
TOLD["the training data has changed"] = {"x": np.ones((48, 4))}


@pytest.mark.parametrize(("told", "fit"), TOLD.items(), ids=TOLD)
def test_what_makes_values_hard_to_compare_is_told_once(search, make_tuner, fit, told):
    """In one line, until trials are trained so; a run that trains nothing leaves no mark."""
    search(n_trials=1)
    for n_trials in (1, 2):
        with pytest.warns(UserWarning, match=told) as caught:
            search(tuner=make_tuner(n_trials=n_trials), fit=fit)
        assert len(str(caught[0].message).splitlines()) == 1
    search(tuner=make_tuner(n_trials=2), fit=fit)


def test_another_dtype_policy_is_told(search, make_tuner):
    """Values of half precision may not compare with those before."""
    search()
    with policy("mixed_float16"):
        told = "dtype_policy was float32 and is mixed_float16"
        with pytest.warns(UserWarning, match=told):
            search(tuner=make_tuner(n_trials=3))
        search(tuner=make_tuner(n_trials=4))


def test_a_builder_may_set_the_dtype_policy(search, make_tuner):
    """It holds for its models alone, and no call of the tuner leaves it behind."""

    def build(trial):
        keras.config.set_dtype_policy("mixed_float16")
        return one_choice(trial)

    with policy("float32"):
        tuner = make_tuner(build, n_trials=1, keep_best=1)
        tuner.enqueue({"units": 2})
        tuner.enqueue()
        tuner.space()
        assert keras.config.dtype_policy().name == "float32"
        search(tuner=tuner)
        assert keras.config.dtype_policy().name == "float32"
        assert tuner.best_model().dtype_policy.name == "mixed_float16"
        search(tuner=make_tuner(build, n_trials=2, keep_best=1))  # pytest makes a warning an error


def test_the_code_of_the_latest_trials_is_what_a_builder_is_compared_with(search, make_tuner):
    """Going back to the first code is a change too, and the same code again is none."""

    def other(trial):
        return model_of(trial.suggest_int("units", 1, 2))

    search(one_choice, n_trials=1)
    for n_trials, builder in ((2, other), (3, one_choice)):
        with pytest.warns(UserWarning, match="code of build_model has changed"):
            search(tuner=make_tuner(builder, n_trials=n_trials))
        search(tuner=make_tuner(builder, n_trials=n_trials))  # pytest makes a warning an error


def test_a_study_that_came_to_nothing_takes_any_data_and_code(search, make_tuner, data):
    """Trials that failed, say for what was wrong with the data, compare with nothing."""

    def fails(trial):
        raise OSError("no data yet")

    x, y, validation = data
    with pytest.raises(Exception, match="no data yet"):
        search(fails, max_failed_trials=1, fit={"validation_data": (x, y)})
    search(tuner=make_tuner(), fit={"validation_data": validation})  # and warns of nothing


def shuffled(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(99).batch(8)


def generated(x, y):
    spec = (tf.TensorSpec((None, 3)), tf.TensorSpec((None,), "int64"))
    rows = tf.data.Dataset.from_generator(lambda: iter([(x, y)]), output_signature=spec)
    return rows.apply(tf.data.experimental.assert_cardinality(1))


@pytest.mark.parametrize("make", [shuffled, generated, Batches])
def test_what_may_differ_each_time_is_not_measured(make):
    """It is compared with nothing."""
    assert measure(make(X, Y)) is None


KINDS = {"shuffled": shuffled, "function": lambda x, y: lambda: (x.copy(), y.copy())}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_the_same_script_again_says_nothing(search, make_tuner, data, make):
    """Where each run makes its data anew."""
    x, y, validation = data
    for n_trials in (1, 2):
        fit = {"validation_data": make(*validation)}
        if not callable(fit["validation_data"]):
            fit |= {"x": make(x, y), "y": None}
        search(tuner=make_tuner(n_trials=n_trials), fit=fit)  # pytest makes a warning an error


def test_data_is_known_in_another_form():
    """Arrays, tensors, frames and fixed pipelines of any batch size hold the same."""
    pipeline = tf.data.Dataset.from_tensor_slices((X, Y))
    forms = [(tf.constant(X), Y), (pd.DataFrame(X), pd.Series(Y)), pipeline.batch(3), pipeline]
    assert [measure(form) for form in forms] == [measure((X, Y))] * 4


def test_a_single_number_tells_data_apart():
    """In arrays of numbers, truths and texts; what is missing counts too."""
    for one in (X, X > 3, X.astype(str), X.astype(str).astype(object), np.where(X > 9, np.nan, X)):
        other = one.copy()
        other[0, 1] = other[7, 2]
        assert measure(other) != measure(one) == measure(one.copy())


def test_a_repeat_on_other_data_or_epochs_is_trained(search, make_tuner, data):
    """A value that was measured after other epochs, or after other rows, is not taken over."""
    x, y, _ = data
    search(one_choice, n_trials=2, fit={"epochs": 1})
    for n_trials, fit in ((4, {"epochs": 2}), (6, {"x": x[:24], "y": y[:24]})):
        with pytest.warns(UserWarning, match="may not compare"):
            tuner = search(tuner=make_tuner(one_choice, n_trials=n_trials), fit=fit)
        new = tuner.results().iloc[-2:]
        assert len(tuner.study.trials) == n_trials
        assert (new[["epochs", "epochs_run"]] == 2).all(axis=None)


def test_a_repeat_of_other_code_is_trained(search, make_tuner):
    """And a space that has grown is not taken for one of which nothing is left."""

    def grown(trial):
        return model_of(trial.suggest_int("units", 1, 3))

    search(one_choice, n_trials=2)
    with pytest.warns(UserWarning, match="code of build_model has changed"):
        tuner = search(tuner=make_tuner(grown, n_trials=5))
    assert tuner.results()["epochs_run"].tolist()[2:] == [2, 2, 2]


def run_again(make_tuner, n_trials, **fit):
    """Let a search of one study run a configuration until the study has so many trials."""
    tuner = make_tuner(one_choice, n_trials=n_trials)
    for _ in range(n_trials - len(tuner.study.trials)):
        tuner.study.enqueue_trial({"units": 1})
    trials = run(tuner, **fit).study.trials
    return [trial.user_attrs.get("repeat_of") for trial in trials]


def test_a_repeat_on_unknown_data_is_trained_once_a_search(make_tuner):
    """Nobody can tell whether it is the data of an earlier search; within one search it is."""
    rows = np.zeros((4, 1))
    for n_trials, repeated in ((2, [None, 0]), (4, [None, 0, None, 2])):
        data = {"validation_data": Batches(rows, rows)}
        assert run_again(make_tuner, n_trials, **data) == repeated


def test_a_repeat_may_be_of_the_search_before_the_last(make_tuner):
    """What is compared are the searches of the two trials, whatever ran between them."""
    assert run_again(make_tuner, 1, epochs=3) == [None]
    with pytest.warns(UserWarning, match="epochs was 3 and is 2"):
        assert run_again(make_tuner, 2, epochs=2) == [None, None]
    with pytest.warns(UserWarning, match="epochs was 2 and is 3"):
        assert run_again(make_tuner, 3, epochs=3) == [None, None, 0]


def test_the_warning_of_other_code_names_what_changed(make_tuner):
    """A number that the builder reads, and no line of its own code, is another one."""

    def of(units):
        return lambda trial: Untrained(units, [{"val_mae": trial.suggest_float("level", 0, 1)}])

    run(make_tuner(of(2), n_trials=1))
    with pytest.warns(UserWarning, match=r"has changed since .* 'test' \(units in <lambda>\): its"):
        run(make_tuner(of(3)))
