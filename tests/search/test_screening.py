"""A search of many long trials begins with short ones, and trains the best beginning to its end."""

from functools import partial

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from kerastune_optuna._search import stopping
from kerastune_optuna._search.pruner import WilcoxonPruner
from kerastune_optuna._search.samplers import Chooser
from kerastune_optuna._search.screening import AutoPruner
from kerastune_optuna._study import TrialRecord
from tests.support.faults import Clock, finished, states
from tests.support.untrained import Untrained, run

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def new_study(direction="maximize", epochs=20, n_trials=15, deadline=None):
    pruner = AutoPruner(n_trials, epochs, deadline)
    return optuna.create_study(direction=direction, pruner=pruner)


def told_at_the_start(study, n_trials):
    """Start a search of trials with 20 epochs; return the lines that say that it begins so."""
    _, lines = Chooser().start(study, n_trials, 20)
    return lines


def ran(study, value, epochs=20, *, interval=1, layers=None, passes=lambda: None):
    """Run a trial whose reports all are a value, and return how many epochs it had.

    `passes` lets the time of an epoch pass.
    """
    trial = study.ask()
    if layers is None:
        trial.suggest_float("rate", 0.0, 1.0)
    else:
        trial.suggest_int("layers", 1, layers)
    return ran_on(study, trial, value, epochs, interval=interval, passes=passes)


def ran_on(study, trial, value, epochs=20, *, interval=1, passes=lambda: None):
    """Run a trial that has its parameters, and return how many epochs it had."""
    for epoch in range(epochs):
        passes()
        if (epoch + 1) % interval == 0:
            trial.report(value, epoch)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return epoch + 1
    study.tell(trial, value)
    return epochs


SIX = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
NAN = float("nan")


@pytest.mark.parametrize(
    ("direction", "begun", "later"),
    [
        ("maximize", SIX, [(0.5, 3), (0.4, 3), (0.7, 20), (0.8, 20), (0.1, 5)]),
        ("minimize", SIX, [(0.2, 3), (0.05, 20)]),
        ("maximize", (0.1, 0.1, 0.1, 0.1, 0.6, 0.6), [(0.5, 3), (0.6, 20)]),
        ("maximize", SIX, [(0.1, 3), (0.55, 20)]),
        ("maximize", SIX, [*[(0.1, 3)] * 6, (0.0, 20)]),
        ("maximize", (0.1, 0.2, NAN, float("inf"), 0.2, 0.1), [(NAN, 3), (0.3, 20)]),
        ("maximize", [NAN] * 6, [(NAN, 3), (0.3, 20)]),
    ],
    ids=["best", "less is better", "as good", "best quarter", "thirteenth", "infinite", "nan"],
)
def test_six_trials_end_early_and_the_best_one_after_them_is_trained(direction, begun, later):
    """The next ones end there, too, until one is in the best quarter, or is the thirteenth."""
    study = new_study(direction)
    assert [ran(study, value) for value in begun] == [3] * 6
    assert [ran(study, value) for value, _ in later] == [epochs for _, epochs in later]


@pytest.mark.parametrize(("epochs", "short"), [(20, 3), (52, 5), (200, 20)])
def test_a_beginning_is_a_tenth_of_the_epochs(epochs, short):
    """Of few epochs it is three."""
    assert ran(new_study(epochs=epochs), 0.5, epochs) == short


def test_a_study_that_is_past_its_first_trials_is_not_said_to_begin():
    """After twelve trials none is screened, and after one that is COMPLETE none need be."""
    study = new_study()
    assert told_at_the_start(study, 15)
    for _ in range(11):
        study.tell(study.ask(), state=TrialState.FAIL)
    assert told_at_the_start(study, 15)
    study.tell(study.ask(), state=TrialState.FAIL)
    assert not told_at_the_start(study, 30)
    study = new_study()
    study.tell(study.ask(), 0.5)
    assert not told_at_the_start(study, 15)


def test_what_is_enqueued_goes_on():
    """A user who names a configuration wants to know what it comes to."""
    study = new_study()
    study.enqueue_trial({"rate": 0.5})
    assert [ran(study, value) for value in (0.5, 0.6, 0.4)] == [20, 20, 5]


@pytest.mark.parametrize(("enqueued", "epochs"), [(False, 3), (True, 20)])
def test_a_trial_that_is_run_again_ends_where_the_first_one_would(enqueued, epochs):
    """A worker that died leaves a trial whose parameters are fixed, though no user chose them."""
    study = new_study()
    if enqueued:
        study.enqueue_trial({"rate": 0.5})
    for again in (None, 0, 7):
        if again is not None:
            params = study.trials[again].params
            study.enqueue_trial(params, user_attrs={TrialRecord.retry_of: again})
        cut_off = study.ask()
        cut_off.suggest_float("rate", 0.0, 1.0)
        if again == 7:
            break
        study.tell(cut_off, state=TrialState.FAIL)
        for _ in range(6):
            study.tell(study.ask(), state=TrialState.FAIL)
    assert ran_on(study, cut_off, 0.5) == epochs


@pytest.mark.parametrize(
    ("n_trials", "layers", "epochs"), [(15, 49, 20), (15, 50, 3), (26, 50, 20)]
)
def test_a_space_of_few_configurations_is_tried_as_ever(n_trials, layers, epochs):
    """Each is tried once: six that end early would be lost to the search."""
    assert ran(new_study(n_trials=n_trials), 0.5, layers=layers) == epochs


@pytest.mark.parametrize(
    "attrs",
    [{"user_attrs": {TrialRecord.code: "DIVERGED"}}, {"constraints": {"size": 1.0}}],
    ids=["diverged", "broke a constraint"],
)
def test_a_trial_that_came_to_nothing_ends_the_screening(attrs):
    """There may be more of them: those that are left must give a model."""
    study = new_study()
    assert ran(study, 0.5) == 3
    study.add_trial(create_trial(state=TrialState.PRUNED, **attrs))
    assert ran(study, 0.4) == 20


def test_the_first_of_many_workers_to_arrive_is_no_winner():
    """Until four beginnings are there, none of a seventh trial or a later one goes on."""
    study = new_study()
    for _ in range(6):
        study.ask()
    assert [ran(study, value) for value in (0.1, 0.2, 0.3, 0.4)] == [3, 3, 3, 20]


@pytest.mark.parametrize(("interval", "epochs"), [(2, 4), (3, 6), (7, 7), (11, 40)])
def test_with_seldom_validations_a_beginning_ends_at_one(interval, epochs):
    """Where the first one comes after a quarter of the epochs, there are no beginnings."""
    assert ran(new_study(epochs=40), 0.5, 40, interval=interval) == epochs


def test_trials_that_run_are_compared_as_far_as_they_came():
    """One that is further on counts by its first epochs, one that is not there yet does not."""
    study = new_study()
    assert [ran(study, value) for value in SIX] == [3] * 6
    for reports in ([0.1, 0.1, 0.1, 0.1, 0.9], [0.9, 0.9]):
        running = study.ask()
        running.suggest_float("rate", 0.0, 1.0)
        for epoch, value in enumerate(reports):
            running.report(value, epoch)
    assert ran(study, 0.65) == 20


@pytest.mark.parametrize(("seconds", "epochs"), [(600, 3), (599, 20)])
def test_ten_trainings_have_to_fit_into_the_time(monkeypatch, seconds, epochs):
    """Here one takes a minute, by the pace of a trial's epochs after its first one."""
    monkeypatch.setattr(stopping, "time", clock := Clock())
    study = new_study(n_trials=None, deadline=stopping.Deadline(seconds))
    clock.sleep(30)  # until the model is compiled
    assert ran(study, 0.5, passes=partial(clock.sleep, 3)) == epochs


def test_a_trial_goes_on_while_there_is_time_for_it(monkeypatch):
    """With less than two trainings left, a trial that ends early might be the last one."""
    monkeypatch.setattr(stopping, "time", clock := Clock())
    study = new_study(n_trials=None, deadline=stopping.Deadline(1000))
    clock.sleep(1000 - 120 - 18)
    lengths = [ran(study, 0.5, passes=partial(clock.sleep, 3)) for _ in range(3)]
    assert lengths == [3, 3, 20]


def of_two_ranges(trial):
    level = trial.suggest_float("level", 1e-3, 1e-1, log=True)
    return Untrained(trial.suggest_int("units", 2, 8), [{"val_mae": level}] * 20)


@pytest.fixture
def long_search(quick):
    """Give a function that searches for 20 epochs of 150 steps, and takes the defaults."""
    rows = np.zeros((150, 1))

    def search(epochs=20, verbose=0, **options):
        tuner = quick(of_two_ranges, **{"n_trials": 15, **options})
        return run(tuner, x=rows, y=rows, batch_size=1, epochs=epochs, verbose=verbose)

    return search


@pytest.mark.slow
def test_a_long_search_begins_with_short_trials(long_search, capsys):
    """It says so, comes to a value, and a second search screens no more."""
    tuner = long_search(verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Sampler: a Gaussian process")
    assert lines[1].startswith("Pruner: until a trial is COMPLETE, the first 6 end after 3 of 20")
    first = tuner.study.trials[0]
    assert states(tuner)[:6] == ["PRUNED"] * 6
    assert list(tuner.results()["epochs_run"][:6]) == [3] * 6
    assert first.user_attrs["stop_reason"] == "pruned at epoch 3/20 by AutoPruner"
    assert first.params == {"level": pytest.approx(0.01), "units": 5}, "the middle of the space"
    assert tuner.best_value == tuner.best_params["level"]
    card = tuner.study.user_attrs[f"card:{first.user_attrs['card']}"]
    assert card["study"]["sampler"] == "ProcessThenTPE"
    long_search(n_trials=16, verbose=2)
    assert "Pruner:" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"n_trials": None}, {}], ids=["no limit", "15 trials"])
def test_a_search_by_the_clock_begins_with_short_trials(long_search, options):
    """Its trials take a few milliseconds, so that ten fit into its time."""
    tuner = long_search(timeout=600, terminator=None, stop_at=0.099, **options)
    assert states(tuner)[:6] == ["PRUNED"] * 6
    assert tuner.best_trial.user_attrs["epochs_run"] == 20


OTHERS = [{"n_trials": 14}, {"n_trials": 14, "timeout": 600}, {"n_trials": None}, {"epochs": 11}]
OTHERS += [{"terminator": 1}, {"sampler": "tpe"}, {"pruner": "wilcoxon"}]


@pytest.mark.parametrize("options", OTHERS, ids=str)
def test_other_searches_train_the_first_trial_to_its_end(long_search, options):
    """Those are short ones, those that may end before, and those whose user chose otherwise."""
    tuner = long_search(stop_at=1.0, **options)
    assert isinstance(tuner.study.pruner, WilcoxonPruner)
    assert states(tuner)[0] == "COMPLETE"
    assert len(finished(tuner)) == 1
