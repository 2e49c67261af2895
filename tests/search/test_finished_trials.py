"""Trials that ended are looked at once, and are told as a look at all of them would tell them."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState

from kerastune_optuna._search import finished_trials
from kerastune_optuna._storage import WORKER


def told(study):
    """Return the numbers of unusual trials, and of those from the first that has not ended on."""
    trials = study.get_trials(deepcopy=False)
    unusual = finished_trials.unusual(study, trials)
    return [one.number for one in unusual], [
        one.number for one in finished_trials.not_ended(study, trials)
    ]


def test_all_that_is_unusual_is_told():
    """Failures, what waits and trials of other code are, in whatever order the others end."""
    study = optuna.create_study()
    trials = [study.ask() for _ in range(5)]
    for own in trials[:4]:
        own.set_user_attr(WORKER, "a worker of ours")
    assert told(study) == ([4], [0, 1, 2, 3, 4])
    study.tell(trials[1], state=TrialState.FAIL)
    assert told(study) == ([1, 4], [0, 1, 2, 3, 4])
    study.tell(trials[0], 1.0)
    assert told(study) == ([1, 4], [2, 3, 4])
    study.tell(trials[3], state=TrialState.PRUNED)
    assert told(study) == ([1, 4], [2, 3, 4])
    study.tell(trials[2], state=TrialState.FAIL)
    study.enqueue_trial({})
    assert told(study) == ([1, 2, 4, 5], [4, 5])
    study.tell(trials[4], 1.0)
    assert told(study) == ([1, 2, 5], [5])


def test_a_trial_that_ended_is_looked_at_once(monkeypatch):
    """A further look asks of new trials alone."""
    study, asked = optuna.create_study(), []
    monkeypatch.setattr(finished_trials, "is_usual", lambda one: asked.append(one.number) or True)
    for number in range(3):
        study.add_trial(optuna.create_trial(value=number))
    for _ in range(2):
        finished_trials.unusual(study, study.trials)
    assert asked == [0, 1, 2]


def test_studies_are_told_apart():
    """What one study had says nothing of another one."""
    one, other = optuna.create_study(), optuna.create_study()
    one.tell(one.ask(), state=TrialState.FAIL)
    other.tell(other.ask(), 1.0)
    assert told(one) == ([0], [])
    assert told(other) == ([], [])


def test_trials_are_found_by_a_value():
    """Those that have it, whether they run or ended, and not those that did not ask for it."""
    study, trials = optuna.create_study(), []

    def found(value):
        told(study)
        all_trials = study.get_trials(deepcopy=False)
        return [one.number for one in finished_trials.with_value(study, all_trials, "rate", value)]

    for rate in (0.25, 0.5, 0.25, None, 0.25):
        trials.append(study.ask())
        if rate is not None:
            trials[-1].suggest_float("rate", rate, rate)
    assert (found(0.25), found(0.5), found(1.0)) == ([0, 2, 4], [1], [])
    study.tell(trials[2], 1.0)
    assert found(0.25) == [0, 2, 4]
    study.tell(trials[0], 1.0)
    study.tell(trials[1], 1.0)
    assert (found(0.25), found(0.5)) == ([0, 2, 4], [1])
    study.ask().suggest_float("rate", 0.5, 0.5)
    assert (found(0.25), found(0.5)) == ([0, 2, 4], [1, 5])
