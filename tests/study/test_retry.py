"""A trial whose process dies is run again, from its backup, as often as that makes sense."""

from __future__ import annotations

import os
import signal
import time

import keras
import pytest

from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import DIED, INTERRUPTED
from tests.support.faults import (
    EpochLog,
    Killer,
    evaluated,
    finished,
    kill_at,
    logged,
    run_to_the_end,
)
from tests.support.models import history, kept
from tests.support.storages import empty, opened
from tests.support.untrained import Untrained, build, run, tuner_in


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "kills", "size"),
    [("sqlite", 4, 8), ("postgresql", 2, 5), ("mariadb", 2, 5), ("journal", 2, 5)],
)
def test_kills_cost_no_trial(search, data, tmp_path, kind, kills, size):
    """Three workers are killed at random moments: all trials end, none runs to its end twice."""
    log, killed = tmp_path / "log", tmp_path / "killed"
    killer = Killer(kills, log, killed)

    def last_until_then(epoch, logs):
        time.sleep(0 if killed.exists() else 0.3)

    slow = keras.callbacks.LambdaCallback(on_epoch_end=last_until_then)
    fit = {"n_workers": 3, "epochs": 6, "callbacks": [EpochLog(log), lambda trial: slow]}
    options = {"n_trials": size, "max_failed_trials": 40, "backup_every": 0.2}
    with empty(kind, tmp_path) as storage, killer:
        tuner = search(storage=opened(storage), fit=fit, **options)
        assert len(killer.killed) == kills
        assert len(finished(tuner)) == size
        assert set(run_to_the_end(log).values()) == {1}
        assert evaluated(tuner.best_model(), data) == pytest.approx(tuner.best_value, abs=1e-6)
        assert all(len(trial.intermediate_values) == 6 for trial in finished(tuner))
        assert len(kept(tuner)) == 1, "one trial's weights and no backup are left"


def unbuilt_builder(trial):
    """Return a classifier that Keras builds when it sees data, and that gets worse by training."""
    model = keras.Sequential(
        [
            keras.layers.Dense(trial.suggest_int("units", 2, 8), activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    rate = -trial.suggest_float("lr", 1e-3, 1e-2)
    model.compile(keras.optimizers.SGD(rate, momentum=0.5), "sparse_categorical_crossentropy")
    return model


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_backup(search, data, tmp_path):
    """Of 20 epochs 15 are done when the process is killed; the curve is one line of 20 reports."""
    log = tmp_path / "log"
    tuner = search(
        unbuilt_builder,
        "val_loss",
        n_trials=1,
        backup_every=0,
        fit={"n_workers": 2, "epochs": 20, "callbacks": [EpochLog(log), kill_at(15)]},
    )
    died, retried = tuner.study.trials
    epochs = {
        n: [int(what) for number, what, *_ in logged(log) if number == n and what.isdigit()]
        for n in (0, 1)
    }
    assert epochs[0] == list(range(15))
    assert len(epochs[1]) <= 6
    assert died.user_attrs["stop_reason"] == DIED
    assert TrialRecord(retried).retry_of == 0
    assert retried.params == died.params
    assert retried.user_attrs["seed"] == died.user_attrs["seed"]
    assert sorted(retried.intermediate_values) == list(range(20))
    assert retried.user_attrs["epochs_run"] == 20
    assert [int(row["epoch"]) for row in history(tuner, 1)] == list(range(20))
    curve = {step: died.intermediate_values[step] for step in range(15)}
    assert {step: retried.intermediate_values[step] for step in range(15)} == curve
    assert retried.value == min(retried.intermediate_values.values())
    loss = tuner.best_model().evaluate(*data[2], verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_a_backup_that_does_not_fit_is_not_used(search, make_tuner, tmp_path):
    """A retry whose builder has changed starts anew, from weights that no backup has touched."""

    def build(trial, units=3):
        trial.suggest_float("lr", 0, 1)
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dense(3, "softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    interrupts = [True]

    def interrupt(epoch, logs):
        if epoch == 2 and interrupts:
            interrupts.clear()
            raise KeyboardInterrupt

    callback = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    fit = {"epochs": 4, "callbacks": [lambda trial: callback]}
    with pytest.raises(KeyboardInterrupt):
        search(build, n_trials=1, backup_every=0, fit=fit)
    with pytest.warns(UserWarning, match="code of build_model has changed"):
        tuner = search(
            tuner=make_tuner(lambda trial: build(trial, units=5), n_trials=1, backup_every=0),
            fit=fit,
        )
    assert [trial.state.name for trial in tuner.study.trials] == ["FAIL", "COMPLETE"]
    assert tuner.results()["stop_reason"][0] == INTERRUPTED
    assert sorted(tuner.study.trials[1].intermediate_values) == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_configuration_that_kills_is_given_up(tmp_path):
    """A trial of which three workers died is not run a fourth time, and another takes its place."""

    def killing(trial):
        if trial.number == 0 or TrialRecord(trial).retry_of is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return build(trial)

    tuner = run(tuner_in(tmp_path, killing, n_trials=2, max_failed_trials=20), n_workers=2)
    reasons = tuner.results()["stop_reason"]
    assert list(reasons[reasons.str.contains("died")]) == [DIED, DIED, "its worker died 3 times"]
    assert len(finished(tuner)) == 2


def test_a_point_of_a_grid_is_not_lost(tmp_path):
    """A grid of two points whose first trial was interrupted is visited whole."""
    interrupts = [True]

    def interrupting(trial):
        units = trial.suggest_int("units", 2, 3)
        if interrupts:
            raise KeyboardInterrupt(interrupts.pop())
        return Untrained(units, [{"val_mae": 1.0}])

    tuner = tuner_in(tmp_path, interrupting, "val_mae", n_trials=None, sampler="grid")
    with pytest.raises(KeyboardInterrupt):
        run(tuner)
    run(tuner)
    assert sorted(trial.params["units"] for trial in finished(tuner)) == [2, 3]
