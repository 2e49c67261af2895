"""A grid tries each configuration once, whatever happens, and then ends the search."""

import os
import signal
import sys

import pytest

from kerastune_optuna import ArgumentError, from_keras_tuner
from tests.support import faults, forks
from tests.support.untrained import Untrained, cheap, run, tuner_in

FLAT = [{"val_mae": 0.5}]


def conditional(trial):
    """Return a model with one of 24 configurations, each optimizer with a parameter of its own."""
    trial.suggest_int("units", 2, 8, step=2)
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        trial.suggest_float("momentum", 0, 0.8, step=0.4)
    else:
        trial.suggest_float("beta", 0.1, 0.3, step=0.1)
    return Untrained(2, FLAT)


def of_four(trial):
    """Return a model with one of four configurations, of which one has a parameter less."""
    trial.suggest_categorical("scale", [1.0])
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        trial.suggest_float("momentum", 0, 0.8, step=0.4)
    return Untrained(2, FLAT)


def points_of(trials):
    return [tuple(sorted(trial.params.items())) for trial in trials]


SCRIPT = """
import sys, time
import keras
from tests.support.faults import EpochLog
from tests.support.untrained import run, tuner_in
from tests.search.test_grid import conditional
epochs = []
def wait_for_the_kill(epoch, logs):
    epochs.append(epoch)
    if len(epochs) == 2:
        time.sleep(3600)
wait = lambda trial: keras.callbacks.LambdaCallback(on_epoch_end=wait_for_the_kill)
tuner = tuner_in(sys.argv[1], conditional, "val_mae", sampler="grid")
run(tuner, n_workers=4, callbacks=[EpochLog(sys.argv[1] + "/log"), wait])
"""


@pytest.mark.slow
def test_four_workers_that_are_killed_lose_no_point(tmp_path):
    """Of 24 configurations each has one result after all processes were killed in one each."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    process = forks.start(command, cwd=faults.ROOT, start_new_session=True)
    faults.wait_until(lambda: [what for _, what, *_ in faults.logged(log)].count("0") == 8)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    tuner = tuner_in(tmp_path, conditional, "val_mae", sampler="grid", n_trials=30)
    assert [faults.states(tuner).count(state) for state in ("COMPLETE", "RUNNING")] == [4, 4]
    run(tuner, callbacks=[faults.EpochLog(log)])
    points = points_of(faults.finished(tuner))
    assert len(points) == len(set(points)) == 24
    ends = faults.run_to_the_end(log)
    assert all(ends[trial.number] == 1 for trial in faults.finished(tuner))
    assert "WAITING" not in faults.states(tuner)


def in_a_grid(folder, build, **options):
    tuner = tuner_in(folder, build, "val_mae", sampler="grid", **options)
    return run(tuner, verbose=2)


@pytest.mark.parametrize("n_trials", [None, 30])
def test_a_grid_ends_the_search(tmp_path, capsys, n_trials):
    """Conditions count, n_trials may be larger, and one that is over adds nothing."""
    options = {"n_trials": n_trials, **cheap()}
    tuner = in_a_grid(tmp_path, of_four, **options)
    points = points_of(faults.finished(tuner))
    assert len(points) == len(set(points)) == len(faults.states(tuner)) == 4
    end = "All configurations were tried: nothing is left"
    assert capsys.readouterr().out.splitlines()[-1] == end
    again = in_a_grid(tmp_path, of_four, **options)
    assert len(faults.states(again)) == 4
    assert "Trial" not in capsys.readouterr().out


def test_the_order_is_that_of_the_seed(tmp_path):
    """One seed gives one order, which is not that of the values."""
    tuners = [in_a_grid(tmp_path, conditional, n_trials=6, **cheap()) for _ in range(2)]
    orders = [points_of(tuner.study.trials) for tuner in tuners]
    assert orders[0] == orders[1]
    assert len({trial.params["units"] for trial in tuners[0].study.trials}) > 1


def test_a_grid_goes_on_where_n_trials_ended_it(tmp_path):
    """What another sampler has tried is not tried again."""
    options = cheap()
    run(tuner_in(tmp_path, of_four, "val_mae", sampler="random", n_trials=1, **options))
    in_a_grid(tmp_path, of_four, n_trials=2, **options)
    points = points_of(in_a_grid(tmp_path, of_four, n_trials=None, **options).study.trials)
    assert len(points) == len(set(points)) == 4


def test_a_point_that_fails_is_not_tried_again(tmp_path):
    """A builder that raises for some configurations has the others tried."""

    def build(trial):
        model = of_four(trial)
        if trial.params.get("momentum") == 0.4:
            raise RuntimeError("no such luck")
        return model

    tuner = in_a_grid(tmp_path, build, n_trials=None, **cheap())
    assert sorted(faults.states(tuner)) == ["COMPLETE"] * 3 + ["FAIL"]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda trial: trial.suggest_float("lr", 0.001, 0.1), r"'lr' \(0.001 to 0.1\) has no step"),
        (from_keras_tuner(lambda hp: hp.Float("rate", 0.0, 1.0)), "'rate' .* has no step"),
        (lambda trial: trial.suggest_categorical("units", [4, 4, 8]), "lets 'units' be 4 or 4"),
    ],
    ids=["endless", "hp.Float", "twice"],
)
def test_a_grid_without_an_end_is_refused(tmp_path, ask, message):
    """Nothing begins of a grid that is infinite or ambiguous."""
    tuner = tuner_in(tmp_path, ask, "val_mae", sampler="grid", **cheap())
    with pytest.raises(ArgumentError, match=message):
        run(tuner)
    assert tuner.study.trials == []


def test_a_trial_that_asks_for_more_than_the_first_is_refused(tmp_path):
    """A float without a step that only some configurations ask for fails these."""

    def build(trial):
        if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "adam":
            trial.suggest_float("beta", 0.1, 0.9)
        return Untrained(2, FLAT)

    table = in_a_grid(tmp_path, build, n_trials=None, **cheap()).results()
    assert sorted(table["state"]) == ["COMPLETE", "FAIL"]
    assert any("'beta' (0.1 to 0.9) has no step" in why for why in table["stop_reason"])
