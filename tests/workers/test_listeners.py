"""Functions that search() calls with each trial that ends."""

import os
import time
from contextlib import nullcontext

import optuna
import pytest
from optuna.samplers import BruteForceSampler
from optuna.trial import FrozenTrial

from kerastune_optuna import _study
from tests.search.test_stopping import of_four
from tests.support.faults import meet, states, trials_of
from tests.support.models import PruneAt
from tests.support.untrained import build, run, tuner_in
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
    raise RuntimeError("the disk of the tracker is full")


def fails_once(trial):
    if trial.number == 1:
        raise ValueError("no such model")
    return build(trial)


@pytest.fixture
def make(tmp_path):
    cheap = {"pruner": "none", "keep_best": 0}
    return lambda builder=build, **options: tuner_in(
        tmp_path, builder, "val_mae", **{**cheap, **options}
    )


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


@pytest.mark.parametrize("n_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_error_of_a_function_ends_the_search(make, n_workers):
    """It comes out as it is, no worker goes on, and the next search finishes the study."""
    tuner = make(n_trials=8)
    with pytest.raises(RuntimeError, match="tracker is full"):
        run(tuner, n_workers=n_workers, on_trial_end=[Listener(1, broken)])
    assert states(tuner)[0] == "COMPLETE"
    assert "RUNNING" not in states(tuner)
    run(tuner)
    assert states(tuner).count("COMPLETE") == 8


def test_a_function_may_stop_the_search(make, capsys):
    """study.stop() ends it after the trial, says so, and does not end the next search."""
    stop = Listener(2, lambda study: study.stop())
    tuner = run(make(of_four, n_trials=4, sampler="random"), on_trial_end=stop, verbose=2)
    assert stop.numbers == [0, 1]
    assert "Stopped by study.stop() in on_trial_end" in capsys.readouterr().out
    assert states(run(tuner)).count("COMPLETE") == 4


def test_a_builder_may_stop_the_search(make, capsys):
    """After `trial.study.stop()` no further trial begins, and a line says so."""

    def stopping(trial):
        if trial.number == 1:
            trial.study.stop()
        return of_four(trial)

    tuner = run(make(stopping, n_trials=4, sampler="random"), verbose=2)
    assert states(tuner).count("COMPLETE") == 2
    assert "Stopped by study.stop()" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_stops_no_search(make, capsys):
    """One of Optuna's calls study.stop() once it takes its space for spent, as nobody did."""
    sampler = BruteForceSampler(seed=0)
    tuner = run(make(of_four, n_trials=10, sampler=sampler), verbose=2)
    assert states(tuner).count("COMPLETE") == 4
    assert "study.stop()" not in capsys.readouterr().out
    assert _study.StudyRecord(tuner.study).ended is None


@pytest.mark.slow
@pytest.mark.parametrize("is_pool", [False, True], ids=["processes", "pool"])
def test_a_function_may_stop_workers(make, is_pool):
    """After study.stop() they begin no other trial; those that end are told here, in that order."""
    stop = Listener(2, lambda study: study.stop())
    with process_pool(1) if is_pool else nullcontext() as pool:
        where = {"executor": pool} if is_pool else {"n_workers": 2}
        tuner = run(make(lasting, n_trials=200), **where, on_trial_end=stop)
    ended = sorted(
        (trial for trial in tuner.study.trials if trial.state.name == "COMPLETE"),
        key=lambda trial: trial.datetime_complete,
    )
    assert stop.numbers == [trial.number for trial in ended]
    assert len(ended) < 100
    assert stop.processes == {os.getpid()}
    assert set(states(tuner)) <= {"COMPLETE", "FAIL"}


def lasting(trial):
    """Return a model after a while, so that a word to stop comes before all trials are done."""
    time.sleep(0.2)
    return build(trial)


@pytest.mark.slow
def test_a_builder_may_stop_workers(make, tmp_path):
    """After `trial.study.stop()` all workers end the trials that run, and begin no other."""

    def stopping(trial):
        meet(tmp_path, 2)
        if trial.number > 0:  # number 1 may be one too many
            trial.study.stop()
        return build(trial)

    tuner = run(make(stopping, n_trials=200), n_workers=2)
    assert set(states(tuner)) <= {"COMPLETE", "FAIL"}
    assert len(trials_of(tuner)) <= 5
