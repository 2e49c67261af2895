"""Samplers by name: Optuna's, seeded, and on from where an earlier search was."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import optuna
import pytest
from optuna.samplers import CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from kerastune_optuna import MissingExtraError
from kerastune_optuna._search import samplers
from kerastune_optuna._search.learning import LearningSampler
from kerastune_optuna._search.samplers import Chooser
from kerastune_optuna._study.monitor import Objective
from tests.support.untrained import run

# PyTorch is too large to install for one sampler: where it is there, Optuna's GPSampler is tried.
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cmaes", CmaEsSampler),
        pytest.param("gp", GPSampler, marks=needs_torch),
        ("qmc", QMCSampler),
        ("random", RandomSampler),
        ("tpe", TPESampler),
    ],
)
def test_a_sampler_has_a_name(quick, name, kind):
    """A name makes Optuna's sampler, and its argument stays what it was."""
    tuner = run(quick(sampler=name, n_trials=1))
    assert tuner.sampler == name
    assert type(tuner.study.sampler) is kind


@pytest.mark.parametrize("name", ["qmc", "random", "tpe"])
@pytest.mark.parametrize("seed", [0, None])
def test_a_name_goes_on_in_a_resumed_study(name, seed):
    """No number is drawn twice, and a QMC sequence with a seed is the one that was begun."""

    def values(*searches):
        study = optuna.create_study()
        for trials in searches:
            own, _ = Chooser(name, seed=seed).start(study)
            study.sampler = taught(study.sampler, own)
            for _ in range(trials):
                trial = study.ask()
                study.tell(trial, trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1))
        return [tuple(trial.params.values()) for trial in study.trials]

    assert len(set(values(2, 3))) == 5
    if name == "qmc" and seed is not None:
        assert values(2, 3)[1:] == values(5)[1:]


def taught(sampler, seed):
    """Return a sampler as a search has it."""
    loss = Objective("val_loss", "minimize")
    return LearningSampler(sampler, loss, constrained=False, may_repeat=False, seed=seed)


def draws(name, seed):
    """Return what the sampler of a name draws in a new study."""
    study = optuna.create_study()
    Chooser(name, seed=seed).start(study)
    drawn = []
    for _ in range(12):
        trial = study.ask()
        drawn.append((trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)))
        study.tell(trial, sum(drawn[-1]))
    return drawn


@pytest.mark.parametrize(
    "name", ["cmaes", pytest.param("gp", marks=needs_torch), "qmc", "random", "tpe"]
)
def test_a_name_is_seeded(name):
    """The tuner's seed decides what the sampler draws, and another seed gives other values."""
    assert draws(name, 3) == draws(name, 3)
    assert draws(name, 3)[1:] != draws(name, 4)[1:]  # the first point of QMC may be the origin


@pytest.mark.parametrize("name", ["cmaes", "gp"])
def test_a_name_whose_package_is_missing_names_the_extra(make_tuner, monkeypatch, name):
    """The error says what to install, before a study is made."""
    monkeypatch.setitem(sys.modules, samplers._PACKAGES[name], None)
    with pytest.raises(MissingExtraError, match=rf'kerastune_optuna\[{name}\]"'):
        make_tuner(sampler=name)
