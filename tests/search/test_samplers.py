"""Samplers by name: Optuna's, seeded, and on from where an earlier search was."""

import sys

import optuna
import pytest
from optuna.samplers import CmaEsSampler, QMCSampler, RandomSampler, TPESampler

from kerastune_optuna import GaussianProcessSampler, MissingExtraError
from kerastune_optuna._search.learning import LearningSampler
from kerastune_optuna._search.samplers import Chooser
from kerastune_optuna._study.objectives import Objective
from tests.support.untrained import run

KINDS = {"cmaes": CmaEsSampler, "gp": GaussianProcessSampler, "qmc": QMCSampler}
KINDS |= {"random": RandomSampler, "tpe": TPESampler}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_sampler_has_a_name(quick, name, kind):
    """A name makes a sampler, and the argument stays what it was."""
    tuner = run(quick(sampler=name, n_trials=1))
    assert tuner.sampler == name
    assert type(tuner.study.sampler) is kind


def drawn(name, seed, *searches):
    """Return what the sampler of a name draws in searches of a study, of so many trials each."""
    study, loss = optuna.create_study(), Objective("val_loss", "minimize")
    for trials in searches:
        own, _ = Chooser(name, seed=seed).start(study)
        options = {"constrained": False, "may_repeat": False, "seed": own}
        study.sampler = LearningSampler(study.sampler, loss, **options)  # as a search has it
        for _ in range(trials):
            trial = study.ask()
            study.tell(trial, trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1))
    return [tuple(trial.params.values()) for trial in study.trials]


@pytest.mark.parametrize("name", ["qmc", "random", "tpe"])
@pytest.mark.parametrize("seed", [0, None])
def test_a_name_goes_on_in_a_resumed_study(name, seed):
    """No number is drawn twice, and a QMC sequence with a seed is the one that was begun."""
    values = drawn(name, seed, 2, 3)
    assert len(set(values)) == 5
    if name == "qmc" and seed is not None:
        assert values[1:] == drawn(name, seed, 5)[1:]


@pytest.mark.parametrize("name", KINDS)
def test_a_name_is_seeded(name):
    """The tuner's seed decides what the sampler draws, and another seed gives other values."""
    assert drawn(name, 3, 12) == drawn(name, 3, 12)
    assert drawn(name, 3, 12)[1:] != drawn(name, 4, 12)[1:]  # the first of QMC may be the origin


def test_a_name_whose_package_is_missing_names_the_extra(make_tuner, monkeypatch):
    """The error says what to install, before a study is made."""
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(MissingExtraError, match=r'kerastune_optuna\[cmaes\]"'):
        make_tuner(sampler="cmaes")
