"""The table of endings: each row is a real search, and each column what that search does."""

import math
from pathlib import Path

import keras
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import GPSampler
from optuna.trial import TrialState, create_trial

from kerastune_optuna import GaussianProcessSampler, NoTrialsError, TooManyFailuresError, _optuna
from kerastune_optuna._search.failures import InARow, OfOneCause
from kerastune_optuna._search.learning import LearningSampler
from kerastune_optuna._study import Ending, Lesson, Objective, TrialRecord, opening, retry
from kerastune_optuna._trial import stop
from tests.support.faults import Clock
from tests.support.untrained import Untrained, run, tuner_in

GUIDE = Path(__file__).parents[2] / "examples" / "guides" / "failures.md"
ROWS = pytest.mark.parametrize("ending", list(Ending), ids=lambda one: one.name.lower())
NAN = {"loss": math.nan, "val_mae": 0.1}
# The curves of the trial that is looked at, which would be the best of all where it is COMPLETE.
CURVES = {Ending.DIVERGED: [{"val_mae": 0.1}, NAN], Ending.DIVERGED_AT_ONCE: [NAN, NAN]}


def raised(error):
    def on_epoch_end(epoch, logs):
        if epoch == 1:
            raise error

    return keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)


# What ends the trial: callbacks of its training, or arguments of its tuner.
CALLBACKS = {
    Ending.PRUNED: raised(optuna.TrialPruned("by a callback")),
    Ending.FAILED: raised(ValueError("of a callback")),
    Ending.CUT_OFF: raised(KeyboardInterrupt()),
    Ending.OVER_LIMIT: keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: stop.time.sleep(9)),
}
OPTIONS = {
    Ending.OVER_LIMIT: {"max_seconds_per_trial": 8},
    Ending.FORBIDDEN: {"constraints": [lambda trial, model: 1 - trial.number]},
}


def searched(ending, folder):
    """Return a tuner whose trial 0, or its repeat, trial 1, came to the ending."""
    curve = CURVES.get(ending, [{"val_mae": 0.1}] * 3)

    def build(trial):
        level = trial.suggest_float("level", 0.2, 1.0)
        return Untrained(2, [{"val_mae": level}] * 3 if trial.number else curve)

    own = CALLBACKS.get(ending, keras.callbacks.Callback())
    callbacks = [lambda trial: keras.callbacks.Callback() if trial.number else own]
    options = {"sampler": "random", "pruner": "none", "n_trials": 3, **OPTIONS.get(ending, {})}
    tuner = tuner_in(folder, build, "val_mae", **options)
    if ending is Ending.REPEAT:
        for _ in range(2):
            tuner.study.enqueue_trial({"level": 0.5})
    if ending is Ending.WITHDRAWN:
        retry.lay_out(tuner.study)
        retry.withdraw_unused(tuner.study)
    if ending is Ending.OPEN:
        tuner.study.ask()
    try:
        run(tuner, callbacks=callbacks)
    except KeyboardInterrupt:
        tuner = tuner_in(folder, build, "val_mae", **options)
    if ending is Ending.EXCLUDED:
        tuner.exclude(0, "a leak")
    return tuner


@pytest.fixture
def trial_of(tmp_path_factory, monkeypatch):
    """Give a function that returns a tuner and its trial with an ending; each is searched once."""
    monkeypatch.setattr(stop, "time", Clock())

    def get(ending):
        if ending not in _made:
            _made[ending] = searched(ending, tmp_path_factory.mktemp(ending.name.lower()))
        tuner = _made[ending]
        return tuner, tuner.study.trials[ending is Ending.REPEAT]

    return get


_made = {}


@ROWS
def test_a_trial_ends_as_its_row_says(trial_of, ending):
    """Its code is written when it ends, and Optuna has one of the states of the row."""
    _, trial = trial_of(ending)
    assert TrialRecord(trial).ending is ending
    assert trial.state in ending.states
    code = {Ending.OPEN: None, Ending.EXCLUDED: "COMPLETE"}.get(ending, ending.name)
    assert trial.user_attrs.get("ending") == code


@ROWS
def test_a_trial_counts_as_its_row_says(trial_of, ending):
    """A search of three trials has three that count, with this one or without it."""
    tuner, trial = trial_of(ending)
    counting = [one.number for one in opening.finished(tuner.study)]
    assert len(counting) == (3 if ending is not Ending.CUT_OFF else 0)
    assert (trial.number in counting) == ending.counts


@ROWS
def test_a_trial_may_be_best_as_its_row_says(trial_of, ending):
    """Only one that was trained to its end is a model, and the best one here."""
    tuner, trial = trial_of(ending)
    try:
        best = tuner.best_trial.number
    except NoTrialsError:
        best = None
    assert (best == trial.number) == ending.may_be_best


def shown_to(sampler, study):
    """Return the trials as a sampler sees them that is about to draw the level."""
    objective = Objective("val_mae", "minimize")
    learning = LearningSampler(sampler, objective, constrained=True, may_repeat=True)
    learning.best = learning._found(study)
    space = {"level": FloatDistribution(0.2, 1.0)}
    states = tuple(TrialState)
    found = []
    for state in states:
        found += _optuna.known_trials(learning._shown(study, space), (state,))
    return {one.number: one for one in found}


@ROWS
def test_a_sampler_learns_what_the_row_says(trial_of, ending):
    """A Gaussian process sees it with its value, as a bad one, as running, or not at all."""
    tuner, trial = trial_of(ending)
    sampler = GPSampler(seed=0) if ending.lesson is Lesson.WORST else GaussianProcessSampler(0)
    shown = shown_to(sampler, tuner.study)
    if ending.lesson is Lesson.NOTHING:
        assert trial.number not in shown
        return
    seen, others = shown[trial.number], [one.value for one in tuner.study.trials if one.values]
    if ending.lesson is Lesson.RUNNING:
        assert seen.state is TrialState.RUNNING
    elif ending.lesson is Lesson.WORST:
        assert (seen.state, seen.value) == (TrialState.COMPLETE, max(others))
    else:
        assert seen.state is TrialState.COMPLETE
        assert seen.value <= TrialRecord(trial).best_value
        assert (seen.value == 0.1) or ending.lesson is Lesson.VALUE


@ROWS
def test_a_trial_is_run_again_as_its_row_says(trial_of, ending):
    """A retry waits for the next search where something else than its configuration ended it."""
    tuner, trial = trial_of(ending)
    retries = [one for one in tuner.study.trials if TrialRecord(one).retry_of == trial.number]
    assert bool(retries) == ending.is_run_again
    assert ending.is_run_again <= (not ending.is_final)


def alike():
    attrs = {"ending": "FAILED", "stop_reason": "ValueError"}
    same = {TrialRecord.sameness: "one cause"}
    return create_trial(state=TrialState.FAIL, user_attrs=attrs, system_attrs=same)


@ROWS
def test_a_search_ends_as_the_row_says(trial_of, ending):
    """Failures end it; after a success, two that fail alike do not."""
    _, trial = trial_of(ending)
    if ending.works is False:
        with pytest.raises(TooManyFailuresError, match="The trial failed"):
            InARow(1).check([trial], [trial])
    else:
        InARow(1).check([trial], [trial])
    trials = [trial, alike(), alike()]
    for number, one in enumerate(trials):
        one.number = number
    if ending.works:
        OfOneCause().check(trials, trials)
    elif ending is not Ending.OPEN:  # which may still succeed
        with pytest.raises(TooManyFailuresError, match="2 trials failed with the same error"):
            OfOneCause().check(trials, trials)


@pytest.mark.parametrize(
    ("state", "told", "ending"),
    [
        (TrialState.COMPLETE, {"value": 0.5}, Ending.COMPLETE),
        (TrialState.PRUNED, {"intermediate_values": {0: 0.5}}, Ending.PRUNED),
        (TrialState.PRUNED, {}, Ending.FORBIDDEN),
        (TrialState.FAIL, {}, Ending.FAILED),
        (TrialState.WAITING, {}, Ending.OPEN),
        (TrialState.FAIL, {"user_attrs": {"ending": "COMPLETE"}}, Ending.FAILED),
        (TrialState.FAIL, {"user_attrs": {"ending": "unknown"}}, Ending.FAILED),
        (TrialState.FAIL, {"user_attrs": {"ending": 7}}, Ending.FAILED),
    ],
)
def test_trials_of_other_code_end_as_their_state_says(state, told, ending):
    """So does one whose code another process wrote, or nobody knows."""
    assert TrialRecord(create_trial(state=state, **told)).ending is ending


def test_the_guide_has_the_table():
    """It is made from the rows, so that it says what the code does."""
    text, effects = GUIDE.read_text(), {True: "success", False: "failure", None: "nothing"}
    for one in Ending:
        states = " or ".join(state.name for state in one.states if state is not TrialState.WAITING)
        yes = ["yes" if told else "" for told in (one.counts, one.may_be_best, one.is_run_again)]
        cells = [f"`{one.name}`", one.meaning, states, *yes[:2], one.lesson.value, yes[2]]
        row = " | ".join([*cells, effects[one.works]])
        assert (f"| {row} |" in text) == (one is not Ending.OPEN), f"| {row} |"
