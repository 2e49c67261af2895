"""Functions that search() calls with each trial that ends."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import optuna
import pytest
from optuna.samplers import BruteForceSampler
from optuna.trial import FrozenTrial

from kerastune_optuna import _study
from tests.support.faults import meet, states
from tests.support.models import PruneAt
from tests.support.untrained import Untrained, build, run, tuner_in
from tests.workers.test_runners import process_pool


class Listener:
    """Note which trials it was told of, by which process, and do something at one of them."""

    def __init__(self, at=None, act=None):
        self.numbers, self.processes = [], set()
        self.at, self.act = at, act

    def __call__(self, study, trial):
        """Hear of a trial that ended."""
        assert isinstance(study, optuna.Study)
        assert isinstance(trial, FrozenTrial)
        assert trial.state.is_finished()
        self.numbers.append(trial.number)
        self.processes.add(os.getpid())
        if len(self.numbers) == self.at:
            self.act(study)


def broken(study):
    """Fail as a function of the user's may."""
    raise RuntimeError("the disk of the tracker is full")


def fails_once(trial):
    """Return a model, but for the second trial."""
    if trial.number == 1:
        raise ValueError("no such model")
    return build(trial)


SPACE = {"units": [2, 8], "level": [0.25, 0.75]}


def build_of_four(trial):
    """Return a model of one of four configurations."""
    units, level = (trial.suggest_categorical(name, given) for name, given in SPACE.items())
    return Untrained(units, [{"val_mae": level}])


@pytest.fixture
def make(tmp_path):
    """Give a maker of tuners of one objective, which never prune where no other is asked for."""

    def tuner(builder=build, **options):
        return tuner_in(
            tmp_path, builder, "val_mae", **{"pruner": "none", "keep_best": 0, **options}
        )

    return tuner


def test_each_trial_that_ends_is_told_once(make):
    """COMPLETE, PRUNED and FAIL ones are, to each function, and none of an earlier search."""
    first, second = Listener(), Listener()
    tuner = make(fails_once, n_trials=3, pruner=PruneAt([2]))
    run(tuner, on_trial_end=[first, second])
    assert first.numbers == second.numbers == [0, 1, 2, 3]
    assert {"FAIL", "PRUNED", "COMPLETE"} == set(states(tuner))
    later = Listener()
    run(tuner, n_trials=4, on_trial_end=later)
    assert later.numbers == [4]


def test_an_error_of_a_function_ends_the_search(make):
    """It comes out as it is; the trial is kept, and the next search goes on."""
    tuner = make(n_trials=3)
    with pytest.raises(RuntimeError, match="tracker is full"):
        run(tuner, on_trial_end=[Listener(2, broken)])
    assert states(tuner)[:2] == ["COMPLETE"] * 2
    run(tuner)
    assert len(tuner.study.trials) == 3


def test_a_function_may_stop_the_search(make, capsys):
    """study.stop() ends it after the trial, says so, and does not end the next search."""
    tuner = make(build_of_four, n_trials=4, sampler="random")
    stop = Listener(2, lambda study: study.stop())
    run(tuner, on_trial_end=stop, verbose=2)
    assert stop.numbers == [0, 1]
    assert "Stopped by study.stop() in on_trial_end" in capsys.readouterr().out
    run(tuner)
    assert states(tuner).count("COMPLETE") == 4


def test_a_builder_may_stop_the_search(make, capsys):
    """After `trial.study.stop()` no further trial begins, and a line says so."""

    def stopping(trial):
        if trial.number == 1:
            trial.study.stop()
        return build_of_four(trial)

    tuner = run(make(stopping, n_trials=4, sampler="random"), verbose=2)
    assert states(tuner).count("COMPLETE") == 2
    assert "Stopped by study.stop()" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_stops_no_search(make, capsys):
    """One of Optuna's calls study.stop() once it takes its space for spent, as nobody did."""
    sampler = BruteForceSampler(seed=0)
    tuner = run(make(build_of_four, n_trials=10, sampler=sampler), verbose=2)
    assert states(tuner).count("COMPLETE") == 4
    assert "study.stop()" not in capsys.readouterr().out
    assert _study.StudyRecord(tuner.study).ended is None


@pytest.mark.slow
def test_trials_of_workers_are_told_here(make):
    """In the order in which they ended, each once, in the process that called search()."""
    told = Listener()
    tuner = run(make(n_trials=6), n_workers=2, on_trial_end=[told])
    ended = sorted(tuner.study.trials, key=lambda trial: trial.datetime_complete)
    assert told.numbers == [trial.number for trial in ended]
    assert len(told.numbers) == 6
    assert told.processes == {os.getpid()}


@contextmanager
def processes():
    """Give arguments of a search by processes of this machine."""
    yield {"n_workers": 2}


@contextmanager
def pool():
    """Give arguments of a search by a task of an executor."""
    with process_pool(1) as executor:
        yield {"executor": executor}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [processes, pool])
def test_a_function_may_stop_workers(make, workers):
    """After study.stop() the workers end their trials, which are told here, and begin no other."""
    stop = Listener(2, lambda study: study.stop())
    with workers() as where:
        tuner = run(make(lasting, n_trials=200), **where, on_trial_end=stop)
    assert len(stop.numbers) == states(tuner).count("COMPLETE") < 100
    assert stop.processes == {os.getpid()}
    assert "RUNNING" not in states(tuner)
    assert "FAIL" not in states(tuner)


def lasting(trial):
    """Return a model after a while, so that a word to stop comes before all trials are done."""
    time.sleep(0.2)
    return build(trial)


@pytest.mark.slow
def test_an_error_of_a_function_ends_the_workers(make):
    """No worker goes on, and the next search finishes the study."""
    tuner = make(n_trials=8)
    with pytest.raises(RuntimeError, match="tracker is full"):
        run(tuner, n_workers=2, on_trial_end=Listener(1, broken))
    assert "RUNNING" not in states(tuner)
    run(tuner)
    assert states(tuner).count("COMPLETE") == 8


@pytest.mark.slow
def test_a_builder_may_stop_workers(make, tmp_path):
    """After `trial.study.stop()` all workers end the trials that run, and begin no other."""

    def stopping(trial):
        meet(tmp_path, 2)
        if trial.number == 1:
            trial.study.stop()
        return build(trial)

    tuner = run(make(stopping, n_trials=200), n_workers=2)
    assert set(states(tuner)) <= {"COMPLETE", "WAITING"}
    assert len(tuner.study.trials) <= 5
