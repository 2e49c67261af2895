"""A grid is read from the builder, laid out once, and visited once, whatever happens."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import optuna
import pytest

from kerastune_optuna import ArgumentError, HyperParameters
from kerastune_optuna._backend import Memory
from kerastune_optuna._search import slots
from kerastune_optuna._search.grid import Grid, configurations, lay_out_grid
from tests.support import forks
from tests.support.faults import ROOT, EpochLog, logged, run_to_the_end, wait_until
from tests.support.untrained import Untrained, cheap, run, tuner_in

FLAT = [{"val_mae": 0.5}]


def ask(trial):
    """Ask for 24 configurations: other parameters for each of two optimizers."""
    trial.suggest_int("units", 2, 8, step=2)
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        trial.suggest_float("momentum", 0, 0.8, step=0.4)
    else:
        trial.suggest_float("beta", 0.1, 0.3, step=0.1)


def conditional(trial):
    """Return a model with one of 24 configurations."""
    ask(trial)
    return Untrained(2, FLAT)


def two_by_two(trial):
    """Return a model with one of four configurations."""
    trial.suggest_int("units", 2, 3)
    trial.suggest_categorical("end", ["softmax", "sigmoid"])
    trial.suggest_categorical("scale", [1.0])
    return Untrained(2, FLAT)


def finished(tuner):
    """Return the trials that count."""
    return [trial for trial in tuner.study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def points_of(trials):
    """Return the configurations of trials."""
    return [tuple(sorted(trial.params.items())) for trial in trials]


SCRIPT = """
import sys, time
import keras
from tests.support.faults import EpochLog
from tests.support.untrained import run, tuner_in
from tests.search.test_grid import conditional
directory = sys.argv[1]
epochs = []
def wait_for_the_kill(epoch, logs):
    epochs.append(epoch)
    if len(epochs) == 2:
        time.sleep(3600)
wait = lambda trial: keras.callbacks.LambdaCallback(on_epoch_end=wait_for_the_kill)
tuner = tuner_in(directory, conditional, "val_mae", sampler="grid")
run(tuner, n_workers=4, callbacks=[EpochLog(directory + "/log"), wait])
"""


@pytest.mark.slow
def test_four_workers_that_are_killed_lose_no_point(tmp_path):
    """Of 24 configurations each has one result after all processes were killed in one each."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    process = forks.start(command, cwd=ROOT, start_new_session=True)
    wait_until(lambda: [what for _, what, *_ in logged(log)].count("0") == 8)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    tuner = tuner_in(tmp_path, conditional, "val_mae", sampler="grid", n_trials=30)
    states = [trial.state.name for trial in tuner.study.trials]
    assert (states.count("COMPLETE"), states.count("RUNNING")) == (4, 4)
    assert states.count("WAITING") == 24 - 4 - 4
    run(tuner, callbacks=[EpochLog(log)])
    points = points_of(finished(tuner))
    assert len(points) == len(set(points)) == 24
    ends = run_to_the_end(log)
    assert all(ends[trial.number] == 1 for trial in finished(tuner))
    assert "WAITING" not in {trial.state.name for trial in tuner.study.trials}


def test_a_grid_is_read_from_the_builder():
    """Steps, categories, logarithms and conditions give each configuration once."""

    def build(trial):
        trial.suggest_int("log", 1, 3, log=True)
        trial.suggest_float("step", 0.1, 0.3, step=0.1)
        if trial.suggest_categorical("kind", ["a", None]) is None:
            trial.suggest_int("inner", trial.params["log"], 3)
        trial.suggest_float("one", 0.5, 0.5)

    found = [params for params, _ in configurations(build, 0, Memory())]
    expected = [
        {"log": log, "step": step, "kind": kind, **inner, "one": 0.5}
        for log in (1, 2, 3)
        for step in (0.1, 0.2, 0.3)
        for kind, inner in [("a", {}), *[(None, {"inner": i}) for i in range(log, 4)]]
    ]
    assert len(found) == len(expected) == 27
    assert all(params in found for params in expected)


def test_the_order_is_that_of_the_seed():
    """One seed gives one order, which is not that of the values."""
    orders = [[params for params, _ in configurations(ask, seed, Memory())] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert len({params["units"] for params in orders[0][:6]}) > 1


def in_a_grid(folder, build, options, **others):
    """Search a builder's grid, and return the tuner."""
    tuner = tuner_in(folder, build, "val_mae", sampler="grid", **options, **others)
    return run(tuner, verbose=2)


def test_a_grid_ends_the_search(tmp_path, capsys):
    """Its size is told, n_trials may be larger, and a search of it that is over adds nothing."""
    options = cheap()
    in_a_grid(tmp_path, two_by_two, options, n_trials=30)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Grid: 4 configurations"
    assert len(lines) == 6
    assert lines[-1] == "All 4 configurations were tried: nothing is left"
    tuner = in_a_grid(tmp_path, two_by_two, options, n_trials=None)
    assert len(tuner.study.trials) == 4
    assert "Trial" not in capsys.readouterr().out


@pytest.mark.slow
def test_n_trials_limits_a_grid(tmp_path, capsys):
    """What n_trials leaves out is told, and is tried by a search that allows more."""
    options = cheap()
    in_a_grid(tmp_path, two_by_two, options, n_trials=1)
    line = capsys.readouterr().out.splitlines()[0]
    assert line == "Grid: about 4 configurations, of which n_trials= leaves some out"
    points = points_of(in_a_grid(tmp_path, two_by_two, options, n_trials=3).study.trials)
    assert len(points) == len(set(points)) == 3


def test_a_point_that_fails_is_not_made_up_for(tmp_path):
    """A builder that raises for some configurations has the others tried."""

    def build(trial):
        model = two_by_two(trial)
        if trial.params["units"] == 2 and trial.params["end"] == "softmax":
            raise RuntimeError("no such luck")
        return model

    tuner = in_a_grid(tmp_path, build, cheap(), n_trials=None)
    assert sorted(tuner.results()["state"]) == ["COMPLETE"] * 3 + ["FAIL"]


@pytest.fixture
def study():
    """Give an empty study that is searched by a grid."""
    return optuna.create_study(sampler=Grid())


def test_a_grid_that_was_laid_out_in_part_is_completed(make_tuner):
    """Two processes that lay a grid out at once, one of them killed, lay out each point once."""
    study = make_tuner().study
    study.sampler = Grid()
    lay_out_grid(study, ask, room=5, seed=0, memory=Memory())
    assert len(study.trials) == 5
    threads = [
        threading.Thread(target=lay_out_grid, args=(study, ask, 30, n, Memory())) for n in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    points = [tuple(sorted(one.system_attrs["fixed_params"].items())) for one in slots.of(study)]
    assert len(points) == len(set(points)) == 24


def endless(trial):
    """Ask for a float without a step."""
    trial.suggest_float("lr", 0.001, 0.1, log=True)


def by_chance(trial):
    """Ask for another parameter each time."""
    trial.suggest_int(f"at {time.perf_counter_ns()}", 1, 2)


def alike(trial):
    """Ask for a choice that equals another."""
    trial.suggest_categorical("dropout", [False, 0, 0.5])


def twice(trial):
    """Ask for a choice that is listed twice."""
    trial.suggest_categorical("units", [4, 4, 8])


def vast(trial):
    """Ask for a hundred million configurations."""
    for name in "abcdefgh":
        trial.suggest_int(name, 1, 10)


def beside(trial):
    """Ask for a float without a step, beside one of which KerasTuner's grid takes ten values."""
    HyperParameters(trial).Float("a", 0.0, 1.0)
    trial.suggest_float("b", 0.0, 1.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (beside, r"'b' \(0.0 to 1.0\) has none"),
        (endless, r"'lr' \(0.001 to 0.1\) has none. Pass step= to suggest_float, or sampler='qmc'"),
        (by_chance, "asks for other parameters when it is called with the same values again"),
        (alike, "lets 'dropout' be False or 0, which are equal"),
        (twice, "lets 'units' be 4 or 4, which are equal"),
        (
            vast,
            "has about 100000000 configurations, and n_trials=None would run them all",
        ),
    ],
    ids=["beside", "endless", "by chance", "alike", "twice", "vast"],
)
def test_a_grid_without_an_end_is_refused(study, build, message):
    """Nothing is laid out of a grid that is infinite, unsteady, ambiguous or too large."""
    with pytest.raises(ArgumentError, match=message):
        lay_out_grid(study, build, None, 0, Memory())
    assert study.trials == []


def test_ten_values_of_one_parameter_are_not_those_of_another(study):
    """A fit that asks for a float without a step after an hp.Float is refused, too."""
    with pytest.raises(ArgumentError, match=r"'b' \(0.0 to 1.0\) has none"):
        beside(study.ask())
