"""The sampler that a search has where the user names none."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import optuna
import pytest
from optuna.samplers import TPESampler

from kerastune_optuna._search import auto
from kerastune_optuna._search.auto import GPThenTPE, automatic
from kerastune_optuna._study import StudyRecord
from tests.support.untrained import build, run, tuner_in

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


def chosen(steps, directions=("minimize",)):
    """Return the class of the sampler that is chosen, and the line about it."""
    sampler, line = automatic(optuna.create_study(directions=directions), 0, steps)
    return type(sampler), line


@pytest.mark.parametrize(("steps", "directions"), [(2999, ["minimize"]), (None, ["minimize"] * 2)])
def test_short_trainings_and_several_objectives_have_tpe(steps, directions):
    """Nothing is said of it, since there is nothing that a user could do."""
    assert chosen(steps, directions) == (TPESampler, None)


def test_without_pytorch_a_line_names_the_extra(monkeypatch):
    """TPE draws where the packages of the other one are not there."""
    monkeypatch.setitem(sys.modules, "torch", None)
    kind, line = chosen(3000)
    assert kind is TPESampler
    assert 'pip install "kerastune_optuna[gp]"' in line


@needs_torch
@pytest.mark.parametrize("steps", [3000, None])
def test_long_trainings_have_a_gaussian_process(steps):
    """So have those whose data does not tell how long they are."""
    kind, line = chosen(steps)
    assert kind is GPThenTPE
    assert line.startswith("Sampler: a Gaussian process")


@needs_torch
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_line_comes_first_and_the_card_names_the_sampler(tmp_path, capsys):
    """A search of 3,000 steps a training says what draws its trials, whatever the pruner does."""
    tuner = run(tuner_in(tmp_path, build, "val_mae", n_trials=1), epochs=3000, verbose=2)
    assert capsys.readouterr().out.splitlines()[0].startswith("Sampler: a Gaussian process")
    attrs = tuner.study.user_attrs
    (card,) = (attrs[name] for name in attrs if name.startswith(StudyRecord.CARD))
    assert card["study"]["sampler"] == "GPThenTPE"


def drawn(trials):
    """Return of each trial of a study of two branches whether a Gaussian process drew it."""
    study = optuna.create_study(sampler=GPThenTPE(3))
    for _ in range(trials):
        trial = study.ask()
        x = trial.suggest_float("x", 0.0, 1.0)
        y = trial.suggest_float("y", 0.0, 1.0) if trial.suggest_categorical("c", [0, 1]) else 0.0
        study.tell(trial, (x - 0.3) ** 2 + y)
    keys = [[name for name in one.system_attrs if "relative" in name] for one in study.trials]
    return [any("gp:" in key for key in of) for of in keys]


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize(("bound", "most"), [("_MOST_OF_GP", 6), ("_MOST_VALUES", 12)])
def test_tpe_draws_the_later_trials(monkeypatch, bound, most):
    """The process begins after five trials, and ends at the bound."""
    monkeypatch.setattr(auto, bound, most)  # each trial asks for two parameters
    assert drawn(8) == [False] * 5 + [True] + [False] * 2


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
import numpy
from tests.support.untrained import Untrained, run, tuner_in

def build(trial):
    level = trial.suggest_float("level", 0.0, 1.0)
    return Untrained(trial.suggest_int("units", 2, 99), [{{"val_mae": level}}] * 20)

x = numpy.zeros((150, 1))  # 3,000 steps in 20 epochs: a search that screens its first trials
tuner = tuner_in({folder!r}, build, "val_mae", n_trials=15, seed=3)
run(tuner, x=x, y=x, batch_size=1, epochs=20)
cards = [one for name, one in tuner.study.user_attrs.items() if name.startswith("card")]
trials = tuner.study.trials
print([cards[0]["study"]["sampler"], *((one.params, one.state.name) for one in trials)])
"""


@needs_torch
@pytest.mark.nightly
def test_a_seed_fixes_the_trials_in_a_fresh_process(tmp_path):
    """Two searches with the same seed, each in a process of its own, draw the same trials."""
    told = [
        subprocess.run(  # not by tests/support/forks.py: a fresh interpreter hashes texts anew
            [sys.executable, "-c", SEEDED.format(folder=str(tmp_path / name))],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for name in ("one", "two")
    ]
    assert told[0].startswith("['GPThenTPE', ({")
    assert len(set(told)) == 1
