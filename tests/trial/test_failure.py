"""A failure says why in one line, and two of one cause end a search that has come to nothing."""

import keras
import numpy as np
import optuna
import pytest
import tensorflow as tf

from kerastune_optuna import TooManyFailuresError, TunerError
from kerastune_optuna._search import StopConditions
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._trial.failure import sameness, told
from tests.support import faults
from tests.support.models import build_model
from tests.support.untrained import build, run

X, Y = np.zeros((8, 4), "float32"), np.zeros(8, "int64")


def caught(function, *arguments, **keywords):
    with pytest.raises(Exception) as got:  # noqa: PT011 - of any kind
        function(*arguments, **keywords)
    return got.value


def fitted(**arguments):
    """Train the smallest model on what may not work."""
    model = build_model(optuna.trial.FixedTrial({"units": 2, "lr": 0.1}))
    model.fit(**{"x": X, "y": Y, "verbose": 0, **arguments})


class Complaint(keras.layers.Layer):
    """Raise when it is called."""

    def call(self, inputs):
        """Raise what a user's own layer may."""
        raise ValueError("two heads are better than one")


def of_a_pipeline():
    """Read a dataset whose own Python raises."""

    def load(row):
        raise ValueError("no such picture")

    list(tf.data.Dataset.from_tensor_slices(X).map(lambda row: tf.py_function(load, [row], "int8")))


TELLING = [
    (lambda: fitted(y=Y + 7), "InvalidArgumentError: Received a label value of 7 which is outside"),
    (lambda: keras.Sequential([Complaint()])(X), "ValueError: two heads are better than one"),
    (of_a_pipeline, "InvalidArgumentError: ValueError: no such picture"),
    (lambda: {}["units"], "KeyError: 'units'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fails", "begins"), TELLING)
def test_the_line_that_tells(fails, begins):
    """What went wrong comes first, without the names of nodes, layers and arguments around it."""
    reason = told(caught(fails))
    assert reason.startswith(begins)
    assert not any(noise in reason for noise in ("\n", "\x1b", "[[", "[Op:", "File "))


def test_a_long_error_keeps_its_beginning_and_its_end():
    """Data in an error is cut out of its middle: what came last is often what counts."""
    reason = told(caught(fitted, x=X.tolist() * 1000))
    assert len(reason) == 300
    assert reason.startswith("ValueError: Unrecognized data type: x=[[0.0, ")
    assert reason.endswith("(of type <class 'list'>)")


@pytest.mark.slow
def test_what_makes_errors_the_same():
    """Values of the data do not tell errors of Keras apart, and do so in errors of the user's."""

    def refuse(units):
        raise ValueError(f"{units} units")

    assert sameness(caught(fitted, y=Y + 7)) == sameness(caught(fitted, y=Y + 8, batch_size=3))
    assert sameness(caught(refuse, 3)) == sameness(caught(refuse, 3))
    assert sameness(caught(refuse, 3)) != sameness(caught(refuse, 4))
    assert sameness(caught(lambda: bytearray(1 << 60))) is None, "memory ran out"


def test_addresses_do_not_tell_errors_apart():
    """Each trial makes its objects anew, which are told of by where they lie."""

    class Own:
        def __call__(self):
            raise ValueError(f"{self} of 3 units and {self.__call__}")

    one, other = Own(), Own()
    assert sameness(caught(one)) == sameness(caught(other))


def misspelt_activation(trial):
    trial.suggest_int("units", 2, 8)
    return keras.Sequential([keras.layers.Dense(3, activation="rleu")])


def misspelt_loss(trial):
    model = build_model(trial)
    model.compile("adam", "sparse_categorical_crosentropy", metrics=["accuracy"])
    return model


OUTSIDE = "Received a label value of 7 which is outside the valid range"
HOPELESS = [
    pytest.param(build_model, Y + 7, OUTSIDE, marks=pytest.mark.slow),
    (misspelt_activation, Y, "activation function identifier: rleu"),
    (misspelt_loss, Y, "Could not interpret loss identifier: sparse_categorical_crosent"),
]


@pytest.mark.parametrize(("build", "y", "text"), HOPELESS)
def test_what_no_trial_survives_ends_the_search(search, make_tuner, build, y, text):
    """Where every trial fails for one cause, the search ends after two, and the line tells why."""
    with pytest.raises(TunerError) as got:
        search(build, fit={"x": X, "y": y, "validation_data": (X, Y)})
    assert text in str(got.value)
    assert len(str(got.value).splitlines()) == 1
    assert len(faults.failed(make_tuner(build))) <= 2


def failed(study):
    trial = study.ask()
    trial.set_user_attr("stop_reason", "ValueError: no such luck")
    study._storage.set_trial_system_attr(trial._trial_id, TrialRecord.sameness, "same")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)


@pytest.fixture
def study():
    return optuna.create_study()


def test_a_trial_that_runs_may_succeed(study):
    """Failures that come fast end no search while a trial that began before has not reported."""
    ending, slow = StopConditions(), study.ask()
    for _ in range(3):
        failed(study)
        ending.check_failures(study)
    slow.report(0.5, 0)
    failed(study)
    ending.check_failures(study)
    study.tell(slow, state=optuna.trial.TrialState.FAIL)
    with pytest.raises(TooManyFailuresError, match="4 trials failed with the same error before"):
        ending.check_failures(study)


def test_a_number_of_failures_is_the_rule(study):
    """Where the user says how many may fail, failures of one cause count as any others do."""
    for _ in range(3):
        failed(study)
        StopConditions(max_failed_trials=4).check_failures(study)
    failed(study)
    with pytest.raises(TooManyFailuresError, match="4 trials failed in a row"):
        StopConditions(max_failed_trials=4).check_failures(study)


def test_failures_of_their_own_are_counted_on(quick):
    """Errors that differ, and a lack of memory, end a search when there are max_failed_trials."""

    def build(trial):
        if trial.number % 2:
            raise MemoryError("too large")
        raise ValueError(f"{trial.number} is even")

    tuner = quick(build, max_failed_trials=5)
    with pytest.raises(TooManyFailuresError, match="5 trials failed in a row") as got:
        run(tuner)
    assert str(got.value.__cause__) == "4 is even"
    failures = [one for one in tuner.study.trials if one.state.name == "FAIL"]
    assert [TrialRecord(one).ending.is_final for one in failures].count(True) == 5


def test_one_success_shows_that_it_can_work(quick):
    """Where another configuration works, it may go first, and others may fail the same way."""

    def build_one(trial):
        model = build(trial)
        if trial.params["units"] != 6:
            raise ValueError("units must be 6")
        return model

    options = {"n_trials": 20, "sampler": "random"}
    with pytest.raises(TooManyFailuresError, match=r"enqueue\(\) one of them before"):
        run(quick(build_one, **options))
    tuner = quick(build_one, max_failed_trials=4, **options)
    tuner.enqueue({"units": 6, "level": 0.5})
    with pytest.raises(TooManyFailuresError, match="4 trials failed in a row"):
        run(tuner)
