"""The table of endings: each row is a real search, and each column what that search does."""

import math
from pathlib import Path

import keras
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from kerastune_optuna import NoTrialsError, TooManyFailuresError, _optuna
from kerastune_optuna._search.failures import check_causes, check_in_a_row
from kerastune_optuna._search.worth import best_of, informative, is_bad, worth
from kerastune_optuna._study import Ending, Lesson, StudyRecord, TrialRecord, own_runs
from kerastune_optuna._trial import ledger
from tests.support.faults import Clock
from tests.support.untrained import Untrained, run, tuner_in

GUIDE = Path(__file__).parents[2] / "examples" / "guides" / "failures.md"
NAN = {"loss": math.nan, "val_mae": 0.1}
# The curves of the trial that is looked at, which would be the best of all where it is COMPLETE.
CURVES = {Ending.DIVERGED: [{"val_mae": 0.1}, NAN], Ending.DIVERGED_AT_ONCE: [NAN, NAN]}
BEST = [{"val_mae": 0.1}, {"val_mae": 0.1}, {"val_mae": 0.05}]


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
    Ending.OVER_LIMIT: keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ledger.time.sleep(9)),
}
OPTIONS = {
    Ending.OVER_LIMIT: {"max_seconds_per_trial": 8},
    Ending.FORBIDDEN: {"constraints": [lambda trial, model: 1 - trial.number]},
}


def searched(ending, folder):
    """Return a tuner whose trial 0, or its repeat, trial 1, came to the ending."""

    def build(trial):
        level = trial.suggest_float("level", 0.2, 1.0)
        falling = [{"val_mae": level}, {"val_mae": level}, {"val_mae": level / 2}]
        return Untrained(2, falling if trial.number else CURVES.get(ending, BEST))

    own = CALLBACKS.get(ending, keras.callbacks.Callback())
    callbacks = [lambda trial: keras.callbacks.Callback() if trial.number else own]
    options = {"sampler": "random", "pruner": "none", "n_trials": 3, **OPTIONS.get(ending, {})}
    tuner = tuner_in(folder, build, "val_mae", **options)
    if ending is Ending.REPEAT:
        for _ in range(2):
            tuner.study.enqueue_trial({"level": 0.5})
    if ending is Ending.WITHDRAWN:
        own_runs.withdraw(tuner.study, own_runs.begin(tuner.study))
    if ending is Ending.OPEN:
        tuner.study.ask()
    try:
        run(tuner, callbacks=callbacks)
    except KeyboardInterrupt:
        tuner = tuner_in(folder, build, "val_mae", **options)
    if ending is Ending.EXCLUDED:
        tuner.exclude(0, "a leak")
    return tuner


@pytest.fixture(scope="module", params=list(Ending), ids=lambda one: one.name.lower())
def row(request, tmp_path_factory):
    """Give an ending, a tuner whose search brought it about, and the number of its trial."""
    ending = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "time", Clock())
        tuner = searched(ending, tmp_path_factory.mktemp(ending.name.lower()))
    return ending, tuner, tuner.study.trials[ending is Ending.REPEAT]


def test_a_trial_ends_as_its_row_says(row):
    """Its code is written when it ends, and Optuna has one of the states of the row."""
    ending, _, trial = row
    assert TrialRecord(trial).ending is ending
    assert trial.state in ending.states
    code = {Ending.OPEN: None, Ending.EXCLUDED: "COMPLETE"}.get(ending, ending.name)
    assert trial.user_attrs.get("ending") == code


def test_a_trial_counts_as_its_row_says(row):
    """A search of three trials has three that count, with this one or without it."""
    ending, tuner, trial = row
    counting = [one.number for one in StudyRecord(tuner.study).finished]
    assert len(counting) == (3 if ending is not Ending.CUT_OFF else 0)
    assert (trial.number in counting) == ending.counts


def test_a_trial_may_be_best_as_its_row_says(row):
    """Only one that was trained to its end is a model, and the best one here."""
    ending, tuner, trial = row
    try:
        best = tuner.best_trial.number
    except NoTrialsError:
        best = None
    assert (best == trial.number) == ending.may_be_best


def test_a_sampler_learns_what_the_row_says(row):
    """A Gaussian process sees it with its value, as a bad one, as running, or not at all."""
    ending, tuner, trial = row
    study = tuner.study
    _optuna.known_trials(study, anew=True)
    told = {one.number: one for one in informative(study)}
    best = best_of(told.values(), study.directions)
    if ending.lesson is Lesson.NOTHING:
        assert trial.number not in told
        return
    own = worth(trial, best, study.directions)
    assert is_bad(trial) == (ending.lesson is Lesson.WORST)
    if ending.lesson in (Lesson.WORST, Lesson.RUNNING):
        assert own is None
    elif ending.lesson is Lesson.BEST:
        assert own == [0.1]
    elif trial.state is TrialState.COMPLETE:
        assert own == trial.values
    else:
        assert own == [min(0.1, best.values[0])], "it gains what the best did, up to its value"


def test_a_trial_is_run_again_as_its_row_says(row):
    """A retry waits for the next search where something else than its configuration ended it."""
    ending, tuner, trial = row
    retries = [one for one in tuner.study.trials if TrialRecord(one).retry_of == trial.number]
    assert bool(retries) == ending.is_run_again


def alike():
    attrs = {"ending": "FAILED", "stop_reason": "ValueError"}
    same = {TrialRecord.sameness: "one cause"}
    return create_trial(state=TrialState.FAIL, user_attrs=attrs, system_attrs=same)


def test_a_search_ends_as_the_row_says(row):
    """Failures end it; after a success, two that fail alike do not."""
    ending, _, trial = row
    if ending.works is False:
        with pytest.raises(TooManyFailuresError, match="The trial failed"):
            check_in_a_row(1, [trial], [trial])
    else:
        check_in_a_row(1, [trial], [trial])
    trials = [trial, alike(), alike()]
    for number, one in enumerate(trials):
        one.number = number
    if ending.works or ending is Ending.OPEN:  # which may still succeed
        check_causes(trials, trials)
    else:
        with pytest.raises(TooManyFailuresError, match="2 trials failed with the same error"):
            check_causes(trials, trials)


@pytest.mark.parametrize(
    ("state", "told", "ending"),
    [
        (TrialState.COMPLETE, {"value": 0.5}, Ending.COMPLETE),
        (TrialState.PRUNED, {"intermediate_values": {0: 0.5}}, Ending.PRUNED),
        (TrialState.PRUNED, {}, Ending.FORBIDDEN),
        (TrialState.FAIL, {}, Ending.FAILED),
        (TrialState.WAITING, {}, Ending.OPEN),
        (TrialState.FAIL, {"user_attrs": {"ending": "COMPLETE"}}, Ending.CUT_OFF),
        (TrialState.COMPLETE, {"value": 0.5, "user_attrs": {"ending": "CUT_OFF"}}, Ending.COMPLETE),
        (TrialState.COMPLETE, {"value": 0.5, "user_attrs": {"repeat_of": 7}}, Ending.REPEAT),
        (TrialState.FAIL, {"user_attrs": {"ending": "unknown"}}, Ending.FAILED),
        (TrialState.FAIL, {"user_attrs": {"ending": 7}}, Ending.FAILED),
    ],
)
def test_trials_of_other_code_end_as_their_state_says(state, told, ending):
    """So does one whose code nobody knows; that of another state was written in the same moment."""
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
