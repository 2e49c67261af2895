"""Trainings whose loss is not finite: a search without others says so, and where the data is."""

import math
import tracemalloc

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from optuna.trial import TrialState

from kerastune_optuna import TooManyFailuresError
from kerastune_optuna._data.fit import FitArguments
from kerastune_optuna._search.failures import check_in_a_row
from tests.support.faults import failed, states
from tests.support.untrained import Untrained, cheap, run, tuner_in

pytestmark = pytest.mark.filterwarnings("ignore:.* holds (NaN|infinity)")  # which the first tells


def holed(x):
    """Return rows of which one has no value in its second column."""
    return np.where(np.arange(len(x))[:, None] * 4 + np.arange(4) == 21, np.nan, x)


X, HOLED = np.ones((8, 4)), holed(np.ones((8, 4)))


def told_of(*curve):
    def build(trial):
        return Untrained(trial.suggest_int("units", 2, 99), curve, columns=4)

    return build


NAN = {"loss": math.nan, "val_mae": 0.5}
blown = told_of(NAN, NAN)  # which ends with its first epoch
flat = told_of(*[{"loss": 0.5, "val_mae": 0.5}] * 5)
late = told_of({"loss": 0.5, "val_mae": 0.5}, {"loss": 0.5, "val_mae": 0.4}, NAN)


def tuner_of(folder, build=blown, **options):
    return tuner_in(folder, build, "val_mae", **{"pruner": "none", **cheap(), **options})


def searched(tuner, x=X, **fit):
    return run(tuner, **{"x": x, "y": X[:, 0], "validation_data": (X, X[:, 0]), **fit})


@pytest.mark.parametrize("value", [0.5, math.nan], ids=["pruned", "failed"])
def test_a_hole_in_the_data_ends_the_search_after_two_trials(tmp_path, capsys, value):
    """The error and the line of each trial name the column, be they pruned or failed by it."""
    x = pd.DataFrame(HOLED, columns=["age", "height", "weight", "pulse"])
    tuner = tuner_of(tmp_path, told_of({"loss": math.nan, "val_mae": value}), n_trials=6)
    with pytest.raises(TooManyFailuresError) as got:
        searched(tuner, x=x, epochs=2, verbose=2)
    why = "diverged at epoch 1/2: the loss is nan; x holds NaN (first in row 5) in column 'height'"
    assert why in capsys.readouterr().out.splitlines()[0]
    assert str(got.value).startswith("2 trials failed in a row")
    assert f"{why}. Fix the data" in str(got.value)


def test_a_hole_in_the_validation_data_is_named(tmp_path):
    """A training that is finite has no value either where what it is measured on is not."""
    tuner = tuner_of(tmp_path, told_of({"loss": 0.5, "val_mae": math.nan}), n_trials=6)
    with pytest.raises(TooManyFailuresError, match=r"never a finite .*; validation_data\[0\] hold"):
        searched(tuner, validation_data=(HOLED, X[:, 0]))


class Spoil(keras.callbacks.Callback):
    """Put NaN into the weights, whatever the loss is: relu may make 0 of NaN on some machines."""

    def on_epoch_end(self, epoch, logs=None):
        """Spoil the last bias."""
        self.model.layers[-1].bias.assign([math.nan])


def test_a_hole_that_the_loss_does_not_show_is_seen_in_the_weights(tmp_path):
    """A model is dead whose weights are NaN, even where its loss stays finite."""
    tuner = tuner_of(tmp_path, told_of({"loss": 0.5, "val_mae": 0.5}), n_trials=6)
    with pytest.raises(TooManyFailuresError, match="diverged at epoch 1/2: weights are nan; x hol"):
        searched(tuner, x=HOLED, epochs=2, callbacks=[Spoil()])


@pytest.mark.parametrize(("x", "fault"), [(X, "build_model or its ranges"), (HOLED, "the data")])
def test_trials_that_all_diverge_are_no_result(tmp_path, x, fault):
    """As many may diverge as may fail where the user says how many, whatever the fault is."""
    tuner = tuner_of(tmp_path, n_trials=6, max_failed_trials=3)
    with pytest.raises(TooManyFailuresError, match=rf"3 trials failed in .* Fix {fault}"):
        searched(tuner, x=x)


def test_what_diverges_at_once_takes_no_budget(tmp_path):
    """Another configuration takes its place, until ten in a row diverged."""
    tuner = tuner_of(tmp_path, n_trials=2)
    with pytest.raises(TooManyFailuresError, match="10 trials failed in a row"):
        searched(tuner)
    assert len(failed(tuner)) == 10
    assert set(states(tuner)) == {"FAIL"}


def test_a_search_in_which_all_diverged_is_no_result(tmp_path):
    """search() raises where it is stopped before ten did."""
    tuner = tuner_of(tmp_path, told_of(NAN, NAN), n_trials=None)
    stop = keras.callbacks.LambdaCallback(on_train_end=lambda logs: tuner.study.stop())
    with pytest.raises(TooManyFailuresError, match=r"No trial has a result: 1 trial failed"):
        searched(tuner, callbacks=[lambda trial: stop])


def test_a_late_divergence_is_no_failure(tmp_path):
    """A trial that had finite values ends no search, however few may fail."""
    tuner = searched(tuner_of(tmp_path, late, n_trials=2, max_failed_trials=1))
    assert [trial.user_attrs["ending"] for trial in tuner.study.trials] == ["DIVERGED"] * 2


def test_a_trial_that_runs_may_come_to_something(make_tuner):
    """Fast failures do not end a search before a slower trial of another worker has its value."""
    study = make_tuner(n_trials=9).study
    slow = study.ask()
    for _ in range(3):
        study.tell(study.ask(), state=TrialState.FAIL)
        check_in_a_row(2, study.trials, study.trials)
    slow.report(0.5, 0)
    check_in_a_row(2, study.trials, study.trials)
    study.tell(slow, state=TrialState.FAIL)
    with pytest.raises(TooManyFailuresError, match="2 trials failed in a row"):
        check_in_a_row(2, study.trials, study.trials)


def test_one_good_trial_is_enough(tmp_path, capsys):
    """A search with a result ends as ever, and what diverged is not told as saved by pruning."""

    def build(trial):
        return flat(trial) if trial.number == 1 else late(trial)

    tuner = searched(tuner_of(tmp_path, build, n_trials=3, max_failed_trials=1))
    assert states(tuner) == ["PRUNED", "COMPLETE", "PRUNED"]
    tuner.summary()
    assert "Epochs: 11 run, 0 saved by pruning (0%)" in capsys.readouterr().out


def test_a_model_that_takes_holes_is_left_alone(tmp_path):
    """The first trial tells of the hole, and training goes on."""
    tuner = tuner_of(tmp_path, flat, n_trials=2)
    with pytest.warns(UserWarning, match=r"x holds NaN \(first in row 5.*Fill it") as warned:
        searched(tuner, x=HOLED)
    assert ["holds NaN" in str(one.message) for one in warned].count(True) == 1
    assert states(tuner) == ["COMPLETE", "COMPLETE"]


INFINITE = np.where(np.isnan(HOLED), 1e300, HOLED)  # which float32 does not hold
PLACES = {
    "x": ({"x": HOLED}, "x holds NaN (first in row 5, column 1)"),
    "nested": ({"x": {"a": X, "b": [X, HOLED]}}, "x['b'][1] holds NaN (first in row 5, column 1)"),
    "images": ({"x": HOLED.reshape(8, 2, 2)}, "x holds NaN (first in row 5)"),
    "tensor": ({"x": tf.constant(HOLED)}, "x holds NaN (first in row 5, column 1)"),
    "infinity": ({"x": INFINITE}, "x holds infinity (first in row 5, column 1)"),
    "y": ({"y": pd.Series(HOLED[:, 1])}, "y holds NaN (first in row 5)"),
    "weights": ({"others": {"sample_weight": HOLED[:, 1]}}, "sample_weight holds NaN (first in ro"),
    "validation": ({"validation_data": (X, HOLED)}, "validation_data[1] holds NaN (first in row 5"),
    "sparse": ({"x": scipy.sparse.coo_matrix(HOLED)}, None),  # only dense data is looked through
    "sparse tensor": ({"x": tf.sparse.from_dense(HOLED)}, None),
    "ragged": ({"x": tf.ragged.constant([[1.0], [2.0, np.nan]])}, None),
    "texts": ({"x": np.array(["a"] * 8, dtype=object)}, None),
    "whole numbers": ({"x": X.astype(int)}, None),
    "finite": ({"validation_data": (X, X)}, None),
}


@pytest.mark.parametrize(("given", "told"), PLACES.values(), ids=PLACES)
def test_the_place_is_named(given, told):
    """Dense data of every form is looked through: which part of it, and which row and column."""
    data = {"x": X, "y": X, "validation_data": None, **given}
    found = FitArguments(**data, epochs=1, validation_split=0.0).not_finite()
    assert found is None if told is None else found.startswith(told)


def test_a_look_takes_memory_for_a_part_alone():
    """One value of 400 MB is found without a copy of them."""
    large = np.zeros((100_000_000, 1), "float32")
    large[-1] = np.inf
    tracemalloc.start()
    assert FitArguments(large, None, 1, None, 0.0).not_finite() == (
        "x holds infinity (first in row 99999999, column 0)"
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < large.nbytes / 10
