"""The sampler that a search has where the user names none."""

import subprocess
import sys

import optuna
import pytest

from kerastune_optuna._search import auto
from kerastune_optuna._search.auto import ProcessThenTPE


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
    monkeypatch.setattr(auto, bound, most)  # the trials ask for three parameters
    assert drawn_by_the_process(3) == [False] * 5 + [True] * 2 + [False] * 5


def test_tpe_draws_where_a_draw_takes_long_beside_a_trial():
    """These trials take no time. With a seed nothing depends on times."""
    assert drawn_by_the_process(None) == [False] * 5 + [True] * 5 + [False] * 2
    assert drawn_by_the_process(3) == [False] * 5 + [True] * 7


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
