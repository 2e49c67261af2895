"""The sampler that a search has where the user names none."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import optuna
import pytest
from optuna.samplers import TPESampler

from kerastune_optuna._search import auto
from kerastune_optuna._search.auto import GPThenTPE, automatic

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


GAUSSIAN = "Sampler: a Gaussian process"


@pytest.mark.parametrize(
    ("steps", "objectives", "kind", "told"),
    [
        (2999, 1, TPESampler, ""),
        (None, 2, TPESampler, ""),
        pytest.param(3000, 1, GPThenTPE, GAUSSIAN, marks=needs_torch),
        pytest.param(None, 1, GPThenTPE, GAUSSIAN, marks=needs_torch),
    ],
)
def test_long_trainings_have_a_gaussian_process(steps, objectives, kind, told):
    """So have those whose data does not tell how long they are; others have TPE, in silence."""
    study = optuna.create_study(directions=["minimize"] * objectives)
    sampler, line = automatic(study, 0, steps)
    assert type(sampler) is kind
    assert line.startswith(told) if told else line is None


def test_without_pytorch_a_line_names_the_extra(monkeypatch):
    """TPE draws where the packages of the other one are not there."""
    monkeypatch.setitem(sys.modules, "torch", None)
    sampler, line = automatic(optuna.create_study(), 0, 3000)
    assert type(sampler) is TPESampler
    assert 'pip install "kerastune_optuna[gp]"' in line


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize(("bound", "most"), [("_MOST_OF_GP", 6), ("_MOST_VALUES", 12)])
def test_tpe_draws_the_later_trials(monkeypatch, bound, most):
    """The process begins after five trials, and ends at the bound."""
    monkeypatch.setattr(auto, bound, most)  # each trial asks for two parameters
    study = optuna.create_study(sampler=GPThenTPE(3))
    for _ in range(8):
        trial = study.ask()
        x = trial.suggest_float("x", 0.0, 1.0)
        y = trial.suggest_float("y", 0.0, 1.0) if trial.suggest_categorical("c", [0, 1]) else 0.0
        study.tell(trial, (x - 0.3) ** 2 + y)
    by_gp = [any("gp:relative" in key for key in one.system_attrs) for one in study.trials]
    assert by_gp == [False] * 5 + [True] + [False] * 2


@pytest.mark.slow
@needs_torch
@pytest.mark.filterwarnings("error")  # Optuna's, of a value beside the steps of its range
def test_what_is_drawn_lies_on_the_steps_of_its_range():
    """Wide ranges with steps, narrow ones and logarithms keep their values and their kinds."""
    study = optuna.create_study(sampler=GPThenTPE(2))
    for _ in range(8):
        trial = study.ask()
        wide = trial.suggest_int("wide", 16, 512, step=16)
        narrow = trial.suggest_int("narrow", 1, 3)
        log = trial.suggest_int("log", 1, 1000, log=True)
        rate = trial.suggest_float("rate", 0.0, 0.95, step=0.05)
        study.tell(trial, wide + log + rate + narrow)
        assert [type(one) for one in (wide, narrow, log)] == [int] * 3
        assert wide % 16 == 0
        assert rate == pytest.approx(round(rate * 20) / 20)


SEEDED = """
import numpy, sys
from tests.search.test_screening import of_two_ranges
from tests.support.untrained import run, tuner_in
x = numpy.zeros((150, 1))  # 3,000 steps in 20 epochs: a search that screens its first trials
tuner = tuner_in(sys.argv[1], of_two_ranges, "val_mae", n_trials=15, seed=3)
run(tuner, x=x, y=x, batch_size=1, epochs=20)
print([(trial.params, trial.state.name) for trial in tuner.study.trials])
"""


@needs_torch
@pytest.mark.nightly
def test_a_seed_fixes_the_trials_in_a_fresh_process(tmp_path):
    """Two searches with the same seed, each in a process of its own, draw the same trials."""
    told = [
        subprocess.run(  # not by tests/support/forks.py: a fresh interpreter hashes texts anew
            [sys.executable, "-c", SEEDED, str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for name in ("one", "two")
    ]
    assert told[0].startswith("[({")
    assert told[0] == told[1]
