"""What trials are worth to samplers, beside tests/study/test_ending.py, which has each ending."""

import math

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from kerastune_optuna._search.worth import best_of, doubts, informative, worth
from kerastune_optuna._study import TrialRecord

BOTH = [optuna.study.StudyDirection.MINIMIZE] * 2


def test_one_that_was_cut_off_tells_until_it_runs_again():
    """A sampler draws apart from one that another worker is about to run again."""
    study = optuna.create_study()
    for number in range(4):
        trial = study.ask()
        if number in (1, 2):
            trial.set_user_attr(TrialRecord.code, "CUT_OFF")
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, 0.5)
    assert [one.number for one in informative(study)] == [0, 1, 2, 3]
    study.ask().set_user_attr(TrialRecord.retry_of, 1)
    study.tell(study.ask(), 0.5)
    assert [one.number for one in informative(study)] == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_best_trial_is_of_the_study_and_finite(direction):
    """Other studies' trials have numbers below 0, and no curve; of equal ones the first is best."""
    trials = [create_trial(value=value) for value in (0.5, float("inf"), 0.2, 0.2, 0.9, 0.9)]
    for number, trial in enumerate(trials, start=-1):
        trial.number = number
    study = optuna.create_study(direction=direction)
    best = best_of(trials, study.directions)
    assert best.number == (1 if direction == "minimize" else 3)


def test_of_several_objectives_a_pruned_trial_is_worth_nothing():
    """Its reports are of one of them."""
    pruned = create_trial(state=TrialState.PRUNED, intermediate_values={0: 0.5})
    whole = create_trial(values=[0.1, 0.2])
    assert best_of([whole], BOTH) is None
    assert worth(pruned, None, BOTH) is None
    assert worth(whole, None, BOTH) == [0.1, 0.2]


@pytest.mark.parametrize("unit", [1, 1e200])
def test_a_guess_is_as_doubtful_as_guesses_were_wrong(unit):
    """A guess may be off as it would be for COMPLETE trials, and by half the gain at first."""
    study = optuna.create_study(direction="maximize")
    curves = [0.5 * unit, 0.7 * unit], [0.4 * unit, 0.5 * unit], [0.3 * unit]
    trials = [
        create_trial(value=max(curve), intermediate_values=dict(enumerate(curve)))
        if len(curve) == 2
        else create_trial(state=TrialState.PRUNED, intermediate_values=dict(enumerate(curve)))
        for curve in curves
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    # The best trial gains .2, the other COMPLETE one .1.
    of_both, of_one = math.sqrt((3 * 0.1**2 + 0.1**2) / 5), math.sqrt(3 * 0.1**2 / 4)
    assert doubts(trials, study.directions) == pytest.approx([0, 0, of_both * unit])
    assert doubts(trials[::2], study.directions) == pytest.approx([0, of_one * unit])
    assert doubts(trials[2:], study.directions) == [0]
    assert doubts(trials, BOTH) == [0, 0, 0]


def test_a_trial_that_broke_a_constraint_is_not_the_best():
    """What it gained is no measure for others, although it is COMPLETE in a plain study."""
    study = optuna.create_study()
    for value, excess in ((0.1, 1.0), (0.5, -1.0)):
        trial = study.ask()
        trial.set_constraint("size", excess)
        study.tell(trial, value)
    assert best_of(study.trials, study.directions).number == 1


def test_no_guess_is_better_than_what_was_reached():
    """A best trial that began badly gained so much that all others would seem to beat it."""
    study = optuna.create_study()
    best = create_trial(value=0.4, intermediate_values={0: 50.0, 9: 0.4})
    pruned = create_trial(state=TrialState.PRUNED, intermediate_values={0: 0.9})
    better = create_trial(state=TrialState.PRUNED, intermediate_values={0: 0.3})
    assert worth(pruned, best, study.directions) == [0.4]
    assert worth(better, best, study.directions) == [0.3]


def test_one_loss_that_exploded_does_not_make_all_guesses_worthless():
    """An error counts as no more than the values are apart."""
    study = optuna.create_study()
    for first, value in ((0.9, 0.5), (0.8, 0.4), (3000.0, 0.6)):
        trial = study.ask()
        trial.report(first, 0)
        trial.report(value, 1)
        study.tell(trial, value)
    pruned = study.ask()
    pruned.report(0.9, 0)
    study.tell(pruned, state=TrialState.PRUNED)
    assert 0 < doubts(study.trials, study.directions)[-1] < 0.4
