"""Workers that begin at once: one waits for what the other draws, if it is to draw otherwise."""

import time

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from kerastune_optuna import GaussianProcessSampler, _optuna
from kerastune_optuna._search import gaussian_process
from kerastune_optuna._study import TrialRecord


@pytest.fixture
def study():
    """Give a study of six trials whose next ones a Gaussian process draws."""
    study = optuna.create_study(sampler=GaussianProcessSampler(1, n_startup_trials=3))
    for x, y in ((-0.9, 0.6), (0.7, -0.8), (0.1, 0.9), (-0.5, -0.4), (0.9, 0.3), (-0.1, 0.0)):
        ranges = dict.fromkeys("xy", FloatDistribution(-1, 1))
        params = {"x": x, "y": y}
        study.add_trial(create_trial(params=params, distributions=ranges, value=x**2 + y**2))
    return study


def begun(study):
    """Begin a trial as another worker of ours does; return a function that tells what it draws."""
    storage = _optuna.storage_of(study)
    trial = storage.create_new_trial(_optuna.id_of(study))
    storage.set_trial_system_attr(trial, TrialRecord.slot, "a machine")

    def draw(text):
        name = "gaussian_process:relative_params:0"
        storage.set_trial_system_attr(trial, name, text)

    return draw


def test_a_worker_waits_for_what_was_drawn_before(study, monkeypatch):
    """It draws apart from a trial that runs already, once that has drawn."""
    alone = optuna.create_study(sampler=GaussianProcessSampler(1, n_startup_trials=3))
    alone.add_trials(study.trials)
    first = alone.ask().relative_params
    drawn = alone.trials[-1].system_attrs["gaussian_process:relative_params:0"]
    draw = begun(study)
    monkeypatch.setattr(time, "sleep", lambda seconds: draw(drawn))
    assert study.ask().relative_params != pytest.approx(first, abs=0.05)


def test_a_worker_waits_for_no_trial_of_other_code(study, monkeypatch):
    """A script with plain Optuna that was killed before it asked will never draw."""
    _optuna.storage_of(study).create_new_trial(_optuna.id_of(study))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    assert study.ask().relative_params


def test_a_worker_gives_up_a_trial_that_draws_nothing(study, monkeypatch):
    """Its process may have died: the next trials do not wait for it, either."""
    begun(study)
    slept = []
    monkeypatch.setattr(gaussian_process, "_PATIENCE", 0.01)
    monkeypatch.setattr(gaussian_process, "_POLL", 0.02)
    monkeypatch.setattr(time, "sleep", lambda seconds, real=time.sleep: slept.append(real(seconds)))
    assert study.ask().relative_params
    assert study.ask().relative_params
    assert len(slept) == 1
