"""Trials that ended are looked at once, and are told as a look at all of them would tell them."""

from __future__ import annotations

import random

import optuna
from optuna.trial import TrialState

from kerastune_optuna._search import ended


def told(study):
    """Return the numbers of unusual trials, and of those from the first that has not ended on."""
    trials = study.get_trials(deepcopy=False)
    unusual = ended.unusual(study, trials)
    return [one.number for one in unusual], [one.number for one in ended.not_ended(study, trials)]


def test_all_that_is_unusual_is_told():
    """Whatever order trials end in, the same is told as by a look at each."""
    study, chance = optuna.create_study(), random.Random(0)
    running = []
    for _ in range(200):
        if running and chance.random() < 0.6:
            state = chance.choice([TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED])
            trial = running.pop(chance.randrange(len(running)))
            study.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state)
        else:
            running.append(study.ask())
        trials = study.get_trials(deepcopy=False)
        unusual, left = told(study)
        assert unusual == [one.number for one in trials if not ended.is_usual(one)]
        first = next((one.number for one in trials if not one.state.is_finished()), len(trials))
        assert left == list(range(first, len(trials)))


def test_a_trial_that_ended_is_looked_at_once(monkeypatch):
    """A further look asks of new trials alone."""
    study, asked = optuna.create_study(), []
    monkeypatch.setattr(ended, "is_usual", lambda one: asked.append(one.number) or True)
    for number in range(3):
        study.add_trial(optuna.create_trial(value=number))
    for _ in range(2):
        ended.unusual(study, study.trials)
    assert asked == [0, 1, 2]


def test_studies_are_told_apart():
    """What one study had says nothing of another one."""
    one, other = optuna.create_study(), optuna.create_study()
    one.tell(one.ask(), state=TrialState.FAIL)
    other.tell(other.ask(), 1.0)
    assert told(one) == ([0], [])
    assert told(other) == ([], [])


def test_trials_are_found_by_a_value():
    """Whatever order trials end in, those with a value are found as by a look at each."""
    study, chance = optuna.create_study(), random.Random(0)
    running = []
    for _ in range(200):
        if running and chance.random() < 0.6:
            study.tell(running.pop(chance.randrange(len(running))), 1.0)
        else:
            study.enqueue_trial({"rate": chance.choice([0.25, 0.5, 1.0])})
            running.append(study.ask())
            if chance.random() < 0.8:
                running[-1].suggest_float("rate", 0, 1)
        told(study)
        trials = study.get_trials(deepcopy=False)
        for value in (0.25, 1.0):
            found = ended.with_value(study, trials, "rate", value)
            assert found == [one for one in trials if one.params.get("rate") == value]
