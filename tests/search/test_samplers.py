"""Samplers by name: Optuna's, seeded, and on from where an earlier search was."""

import subprocess
import sys

import optuna
import pytest
from optuna.samplers import CmaEsSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from kerastune_optuna import GaussianProcessSampler, MissingExtraError
from kerastune_optuna._search import samplers
from kerastune_optuna._search.learning import LearningSampler
from kerastune_optuna._search.samplers import Chooser, ProcessThenTPE
from kerastune_optuna._study import TrialRecord
from kerastune_optuna._study.objectives import Objective
from tests.support.faults import finished, states
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


# Not "cmaes": Optuna's CmaEsSampler adds the number of the trial to its seed, and a trial that was
# cut off is run again under another number.
OTHERS = sorted(KINDS.keys() - {"cmaes"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number"), [("auto", 1), ("auto", 9), ("auto", 11), *((name, 9) for name in OTHERS)]
)
def test_a_search_with_a_seed_goes_on_as_if_it_was_not_stopped(quick, name, number):
    """Cut off within a trial and resumed, it draws and trains what an unbroken search does.

    With "auto", a search of 15 trials of 20 epochs begins with short trials.
    """

    def searched(study_name, *callbacks):
        tuner = quick(sampler=name, seed=3, n_trials=15, study_name=study_name)
        return run(tuner, epochs=20, callbacks=callbacks)

    def interrupting(trial):
        if trial.number == number:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt):
        searched("resumed", interrupting)
    resumed, unbroken = searched("resumed"), searched("unbroken")
    assert states(resumed).count("FAIL") == 1
    told = [
        [(one.params, one.value, TrialRecord(one).seed) for one in finished(tuner)]
        for tuner in (resumed, unbroken)
    ]
    assert told[0] == told[1]


def test_a_name_whose_package_is_missing_names_the_extra(make_tuner, monkeypatch):
    """The error says what to install, before a study is made."""
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(MissingExtraError, match=r'kerastune_optuna\[cmaes\]"'):
        make_tuner(sampler="cmaes")


def drawn_by_the_process(seed, n_trials=12):
    """Return of each trial of a study whether the process drew it."""
    study = optuna.create_study(sampler=ProcessThenTPE(seed))
    for _ in range(n_trials):
        trial = study.ask()
        x = trial.suggest_float("x", 0.0, 1.0)
        y = trial.suggest_float("y", 0.0, 1.0) if trial.suggest_categorical("c", [0, 1]) else 0.0
        study.tell(trial, (x - 0.3) ** 2 + y)
    return [any("process:relative" in key for key in one.system_attrs) for one in study.trials]


@pytest.mark.parametrize(("bound", "most"), [("_MOST_TRIALS", 7), ("_MOST_VALUES", 21)])
def test_tpe_draws_the_later_trials(monkeypatch, bound, most):
    """The process begins after five trials, and ends at a number of trials, or of values."""
    monkeypatch.setattr(samplers, bound, most)  # the trials ask for three parameters
    assert drawn_by_the_process(3) == [False] * 5 + [True] * 2 + [False] * 5


def drawn_at_last(name):
    """Return what the sampler of a name draws together after 20 trials, some without a value."""
    study, loss = optuna.create_study(), Objective("val_loss", "minimize")
    study.sampler = RandomSampler(seed=0)
    for number in range(20):
        trial = study.ask()
        x, y = (trial.suggest_float(parameter, 0.0, 1.0) for parameter in "xy")
        trial.report(x + y, step=0)
        state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[number % 3]
        study.tell(trial, x + y if state is TrialState.COMPLETE else None, state)
    own, _ = Chooser(name, seed=3).start(study)
    options = {"constrained": False, "may_repeat": False, "seed": own}
    study.sampler = LearningSampler(study.sampler, loss, **options)
    return study.ask().relative_params


def test_tpe_draws_the_later_trials_as_it_does_alone(monkeypatch):
    """It draws all parameters together, and learns what it learns as "tpe", to the last digit."""
    monkeypatch.setattr(samplers, "_MOST_TRIALS", 20)
    assert drawn_at_last("auto").keys() == {"x", "y"}
    assert drawn_at_last("auto") == drawn_at_last("tpe")


SEEDED = """
import numpy, sys
from tests.search.test_screening import of_two_ranges
from tests.support.untrained import run, tuner_in
x = numpy.zeros((150, 1))
tuner = tuner_in(sys.argv[1], of_two_ranges, "val_mae", n_trials=15, seed=3)
run(tuner, x=x, y=x, batch_size=1, epochs=20)  # so many that it begins with short trials
print([(trial.params, trial.state.name) for trial in tuner.study.trials])
"""


@pytest.mark.nightly
def test_a_seed_fixes_the_trials_in_a_fresh_process(tmp_path):
    """Two searches with the same seed, each in a process of its own, draw the same trials."""
    command = [sys.executable, "-c", SEEDED]
    # Not by tests/support/forks.py: a fresh interpreter hashes texts anew.
    said = [subprocess.check_output([*command, tmp_path / name], text=True) for name in "ab"]
    told = [one.splitlines()[-1] for one in said]
    assert told[0].startswith("[({")
    assert told[0] == told[1]
