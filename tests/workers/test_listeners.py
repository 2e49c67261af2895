"""Functions that search() calls with each trial that ends."""

from __future__ import annotations

import os
from functools import partial

import optuna
import pytest
from optuna.samplers import BruteForceSampler, GridSampler
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _study
from tests.support.faults import meet
from tests.support.models import PruneAt, build_model


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
    return build_model(trial)


def test_each_trial_that_ends_is_told_once(search, make_tuner):
    """COMPLETE, PRUNED and FAIL ones are, to each function, and none of an earlier search."""
    first, second = Listener(), Listener()
    tuner = search(
        fails_once, n_trials=3, pruner=PruneAt([2]), fit={"on_trial_end": [first, second]}
    )
    assert first.numbers == second.numbers == [0, 1, 2, 3]
    states = [trial.state for trial in tuner.study.trials]
    assert {TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE} == set(states)
    later = Listener()
    search(tuner=tuner, fit={"n_trials": 4, "on_trial_end": later})
    assert later.numbers == [4]


def test_an_error_of_a_function_ends_the_search(search, make_tuner):
    """It comes out as it is; the trial is kept, and the next search goes on."""
    tuner = make_tuner(n_trials=3)
    with pytest.raises(RuntimeError, match="tracker is full"):
        search(tuner=tuner, fit={"on_trial_end": [Listener(2, broken)]})
    assert [trial.state for trial in tuner.study.trials[:2]] == [TrialState.COMPLETE] * 2
    search(tuner=tuner)
    assert len(tuner.study.trials) == 3


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_a_function_may_stop_the_search(search, make_tuner, capsys, sampler):
    """study.stop() ends it after the trial, says so, and does not end the next search."""
    tuner = make_tuner(lambda trial: build_model(Coarse(trial)), n_trials=4, sampler=sampler)
    stop = Listener(2, lambda study: study.stop())
    search(tuner=tuner, fit={"on_trial_end": stop, "verbose": 2})
    assert stop.numbers == [0, 1] or sampler == "grid"
    assert len(stop.numbers) == 2
    assert "Stopped by study.stop() in on_trial_end" in capsys.readouterr().out
    search(tuner=tuner)
    assert sum(trial.state is TrialState.COMPLETE for trial in tuner.study.trials) == 4


class Coarse:
    """Ask a trial for a few values of each number, so that a grid is small."""

    def __init__(self, trial):
        self.trial = trial

    def suggest_int(self, name, low, high):
        """Ask for the least or the largest."""
        return self.trial.suggest_categorical(name, [low, high])

    def suggest_float(self, name, low, high, log):
        """Ask for the least or the largest."""
        return self.trial.suggest_categorical(name, [low, high])


@pytest.mark.slow
def test_trials_of_workers_are_told_here(search, make_tuner):
    """In the order in which they ended, each once, in the process that called search()."""
    told = Listener()
    tuner = search(n_trials=6, fit={"n_workers": 2, "on_trial_end": [told]})
    ended = sorted(tuner.study.trials, key=lambda trial: trial.datetime_complete)
    assert told.numbers == [trial.number for trial in ended]
    assert told.processes == {os.getpid()}


@pytest.mark.slow
def test_a_function_may_stop_workers(search, make_tuner):
    """After study.stop() the workers end their trials, which are told, and begin no other."""
    stop = Listener(2, lambda study: study.stop())
    tuner = search(n_trials=200, fit={"n_workers": 2, "on_trial_end": stop})
    states = [trial.state for trial in tuner.study.trials]
    assert len(stop.numbers) == states.count(TrialState.COMPLETE) < 100
    assert TrialState.RUNNING not in states
    assert TrialState.FAIL not in states


@pytest.mark.slow
def test_an_error_of_a_function_ends_the_workers(search, make_tuner):
    """No worker goes on, and the next search finishes the study."""
    tuner = make_tuner(n_trials=8)
    with pytest.raises(RuntimeError, match="tracker is full"):
        search(tuner=tuner, fit={"n_workers": 2, "on_trial_end": Listener(1, broken)})
    assert TrialState.RUNNING not in [trial.state for trial in tuner.study.trials]
    search(tuner=tuner)
    assert sum(trial.state is TrialState.COMPLETE for trial in tuner.study.trials) == 8


SPACE = {"units": [2, 8], "lr": [0.001, 0.1]}


@pytest.mark.parametrize("sampler", ["random", "grid", GridSampler(SPACE)])
def test_a_builder_may_stop_the_search(search, make_tuner, capsys, sampler):
    """After `trial.study.stop()` no further trial begins, and a line says so."""

    def build(trial):
        if trial.number == 1:
            trial.study.stop()
        return build_model(Coarse(trial))

    tuner = search(build, n_trials=4, sampler=sampler, fit={"verbose": 2, "epochs": 1})
    states = [trial.state for trial in tuner.study.trials]
    assert states.count(TrialState.COMPLETE) == 2
    assert "Stopped by study.stop()" in capsys.readouterr().out


@pytest.mark.parametrize("make", [partial(GridSampler, SPACE), BruteForceSampler])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_stops_no_search(search, capsys, make):
    """Optuna's samplers call study.stop() once they take their space for spent, as nobody did."""

    def build(trial):
        return build_model(Coarse(trial))

    tuner = search(build, n_trials=10, sampler=make(seed=0), fit={"verbose": 2})
    assert sum(trial.state is TrialState.COMPLETE for trial in tuner.study.trials) == 4
    assert "study.stop()" not in capsys.readouterr().out
    assert "study.stop()" not in _study.opening.end_of(tuner.study)[1]


@pytest.mark.slow
def test_a_builder_may_stop_workers(search, tmp_path):
    """After `trial.study.stop()` all workers end the trials that run, and begin no other."""

    def build(trial):
        meet(tmp_path, 2)
        if trial.number == 1:
            trial.study.stop()
        return build_model(trial)

    tuner = search(build, n_trials=200, fit={"n_workers": 2, "epochs": 1})
    states = {trial.state for trial in tuner.study.trials}
    assert states <= {TrialState.COMPLETE, TrialState.WAITING}
    assert len(tuner.study.trials) <= 5
