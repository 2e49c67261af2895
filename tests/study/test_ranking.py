"""Models, tables, the display and the command line agree on which trials are best."""

import io
import math
import random
import re

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from kerastune_optuna.__main__ import app
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._report.live import Frame
from kerastune_optuna._report.progress import Plan
from kerastune_optuna._study import Ranking
from kerastune_optuna._study.objectives import Objective, Objectives
from kerastune_optuna._study.record import TrialRecord
from tests.support.untrained import build, tuner_in

INF = math.inf


def with_trials(folder, values, objective="val_score", repeats=(), **options):
    """Return a tuner whose study has COMPLETE trials of these values, some of which are repeats."""
    tuner = tuner_in(folder, build, objective, **options)
    distribution = optuna.distributions.IntDistribution(0, 99)
    for number, value in enumerate(values):
        own = {"params": {"units": number}, "distributions": {"units": distribution}}
        own["user_attrs"] = {TrialRecord.repeat_of: 0} if number in repeats else {}
        values = list(value) if isinstance(value, tuple) else [value]
        tuner.study.add_trial(create_trial(values=values, **own))
    tuner.study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={0: -9.0}))
    return tuner


VALUES = {"ties": ([0.5, 0.25, 0.25, 0.75], ()), "repeats": ([0.5, 0.25, 0.5, 0.25, 0.5], (2, 4))}
VALUES["infinite"] = [INF, 0.5, -INF, INF, -INF], ()
VALUES["infinite repeats"] = [-INF, INF, 0.0, -0.0, INF], (4,)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(("values", "repeats"), VALUES.values(), ids=VALUES)
def test_all_agree_on_one_objective(tmp_path, capsys, direction, values, repeats):
    """Repeats have no rank, the earlier of equals leads, and infinite values have their place."""
    tuner = with_trials(tmp_path, values, repeats=repeats, direction=direction)
    sign = 1 if direction == "minimize" else -1
    own = [number for number in range(len(values)) if number not in repeats]
    order = sorted(own, key=lambda number: (sign * values[number], number))
    assert [one.number for one in tuner.top_trials(9)] == order
    trials, objective = tuner.study.trials, Objective("val_score", direction)
    assert [one.number for one in Ranking.by(objective, trials)] == order
    facts = Facts(tuner.study)
    assert [row.number for row in facts.complete] == order
    assert [row.rank for row in facts.complete] == list(range(1, len(order) + 1))
    assert tuner.best_trial.number == facts.best.number == order[0]
    console = Console(file=io.StringIO(), width=80, height=9)
    console.print(Frame(Plan("test", Objectives([objective]), None, 2), trials, 0.0))
    assert f" in trial {order[0]}" in console.file.getvalue()
    assert tuner.best_params == {"units": order[0]}
    app(["status", str(tmp_path)], standalone_mode=False)
    listed = re.findall(r"^ +(\d+) +(\d+) ", capsys.readouterr().out, re.MULTILINE)
    assert listed == [(str(rank), str(number)) for rank, number in enumerate(order, start=1)]


def test_all_agree_on_several_objectives(tmp_path):
    """The front of models and tables is Optuna's own, without the repeats."""
    chance = random.Random(0)
    drawn = [(chance.choice([0.0, 0.5, 1.0, INF]), chance.choice([0, 1, 2])) for _ in range(40)]
    tuner = with_trials(tmp_path, drawn, ["val_mae", "n_params"], repeats=range(30, 40))
    front = [one.number for one in tuner.study.best_trials if one.number < 30]
    assert [one.number for one in tuner.best_trials] == front
    assert sorted(row.number for row in Facts(tuner.study).front) == front


def test_what_breaks_a_constraint_comes_last():
    """Of several objectives, Optuna's own front has nothing that breaks one where any keeps all."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    for excess, values in ((2.0, [0.0, 0.0]), (0.0, [1.0, 2.0]), (1.0, [0.0, 0.0])):
        trial = study.ask()
        trial.set_constraint("size", excess)
        study.tell(trial, values)
    assert [one.number for one in study.best_trials] == [1]
    assert Ranking(["minimize"] * 2).ranks(study.trials) == {1: 1, 2: 2, 0: 3}
    assert [one.number for one in Ranking.front(study)] == [1]
