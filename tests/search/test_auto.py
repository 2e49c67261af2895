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
from kerastune_optuna._study import record
from tests.search.test_samplers import of_two_ranges
from tests.support.models import PruneAt

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
def test_the_line_comes_first_and_the_card_names_the_sampler(search, capsys):
    """A search of 3,000 steps a training says what draws its trials, whatever the pruner does."""
    fit = {"epochs": 1000, "batch_size": 4, "verbose": 2}
    tuner = search(of_two_ranges, pruner=PruneAt([0]), n_trials=1, fit=fit)
    assert capsys.readouterr().out.splitlines()[0].startswith("Sampler: a Gaussian process")
    (card,) = (one for name, one in tuner.study.user_attrs.items() if name.startswith(record.CARD))
    assert card["study"]["sampler"] == "GPThenTPE"


def drawn(trials):
    """Return the parameters of a study of two branches, and by what each trial's were drawn."""
    study = optuna.create_study(sampler=GPThenTPE(3))
    for _ in range(trials):
        trial = study.ask()
        x = trial.suggest_float("x", 0.0, 1.0)
        y = trial.suggest_float("y", 0.0, 1.0) if trial.suggest_categorical("c", [0, 1]) else 0.0
        study.tell(trial, (x - 0.3) ** 2 + y)
    keys = [[name for name in one.system_attrs if "relative" in name] for one in study.trials]
    return [one.params for one in study.trials], [any("gp:" in key for key in of) for of in keys]


@needs_torch
@pytest.mark.parametrize(("bound", "most"), [("_MOST_OF_GP", 13), ("_MOST_VALUES", 26)])
def test_tpe_draws_the_later_trials(monkeypatch, bound, most):
    """The process begins after five trials, ends at the bound, and a seed fixes all of them."""
    monkeypatch.setattr(auto, bound, most)  # each trial asks for two parameters
    params, by_process = drawn(15)
    assert by_process == [False] * 5 + [True] * 8 + [False] * 2
    assert drawn(15)[0] == params


@needs_torch
@pytest.mark.filterwarnings("error")  # Optuna's, of a value beside the steps of its range
def test_what_is_drawn_lies_on_the_steps_of_its_range():
    """Wide ranges with steps, narrow ones and logarithms keep their values and their kinds."""
    study = optuna.create_study(sampler=GPThenTPE(2))
    for _ in range(12):
        trial = study.ask()
        wide = trial.suggest_int("wide", 16, 512, step=16)
        narrow = trial.suggest_int("narrow", 1, 3)
        log = trial.suggest_int("log", 1, 1000, log=True)
        rate = trial.suggest_float("rate", 0.0, 0.95, step=0.05)
        study.tell(trial, wide + log + rate + narrow)
        assert [type(one) for one in (wide, narrow, log)] == [int] * 3
        assert wide % 16 == 0
        assert rate == pytest.approx(round(rate * 20) / 20)
    assert study.best_value < 60  # chance comes to some hundreds


SEEDED = """
from tests.support.models import PruneAt
from tests.search.test_samplers import of_two_ranges
from kerastune_optuna import OptunaTuner
from kerastune_optuna._search import auto
import numpy

auto._LEAST_STEPS = 1  # else a training takes seconds
x, y = numpy.zeros((48, 4), "float32"), numpy.zeros(48, "int64")
tuner = OptunaTuner(
    of_two_ranges, n_trials=15, seed=3, pruner={pruner}, directory={folder!r}
)
tuner.search(x, y, validation_data=(x, y), epochs=20, verbose=0)
cards = [one for name, one in tuner.study.user_attrs.items() if name.startswith("card")]
trials = tuner.study.trials
print([cards[0]["study"]["sampler"], *((one.params, one.state.name) for one in trials)])
"""


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["PruneAt(range(20))", "None"])
def test_a_seed_fixes_the_trials_in_a_fresh_process(tmp_path, pruner):
    """Two searches with the same seed, each in a process of its own, draw the same trials."""
    told = [
        subprocess.run(  # not by tests/support/forks.py: a fresh interpreter hashes texts anew
            [sys.executable, "-c", SEEDED.format(folder=str(tmp_path / name), pruner=pruner)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for name in ("one", "two")
    ]
    assert told[0].startswith("['GPThenTPE', ({")
    assert len(set(told)) == 1
