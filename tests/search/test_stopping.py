"""What ends a search before its budget is spent: nothing left to try, and no gain expected."""

import math
import pickle
import warnings
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from kerastune_optuna._search import Budget, StopConditions
from kerastune_optuna._search.stopping import Deadline
from kerastune_optuna._study import Card, Watch
from kerastune_optuna._study.liveness import own_runs
from kerastune_optuna._study.record import TrialRecord
from tests.support.faults import finished, states, trials_of
from tests.support.untrained import Untrained, run, tuner_in


class AfterTwo:
    """Be a terminator that has enough after two trials."""

    def should_terminate(self, study):
        """Count the trials."""
        return len(study.get_trials(states=[TrialState.COMPLETE])) >= 2


def stagnation():
    # Optuna 5 means to drop its terminators, and marks the evaluators as experimental.
    with warnings.catch_warnings(action="ignore"):
        from optuna.terminator import BestValueStagnationEvaluator, Terminator

        return Terminator(BestValueStagnationEvaluator(0), min_n_trials=1)


def that_learns_nothing(trial):
    """Return a model whose error is the same in each of endless configurations."""
    trial.suggest_float("lr", 0, 1)
    return Untrained(2, [{"val_mae": 0.5}])


def of_four(trial):
    trial.suggest_categorical("name", ["a", "b"])
    return Untrained(trial.suggest_int("units", 2, 3), [{"val_mae": 0.5}])


def of_one(trial):
    return Untrained(trial.suggest_categorical("units", [2]), [{"val_mae": 0.5}])


def test_a_search_ends_where_nothing_is_left(quick, capsys):
    """Four configurations are tried once each, and the search without a limit says so."""
    end = "All configurations were tried: nothing is left"
    for n_trials in (None, 20):
        tuner = run(quick(of_four, n_trials=n_trials, sampler="tpe"), verbose=2)
        assert len({tuple(trial.params.values()) for trial in tuner.study.trials}) == 4
        assert states(tuner) == ["COMPLETE"] * 4
        assert capsys.readouterr().out.splitlines()[-1] == end


@pytest.mark.parametrize(
    ("build", "workers", "most"),
    [
        (of_one, 1, 1),
        # Workers that ask in the same milliseconds may draw the same configuration.
        pytest.param(of_four, 2, 8, marks=pytest.mark.slow),
        pytest.param(of_one, 2, 2, marks=pytest.mark.slow),
    ],
)
def test_no_slot_waits_for_what_is_not_there(tmp_path, build, workers, most):
    """Where all was tried before the study has its size, each of its trials has ended."""
    tuner = tuner_in(tmp_path, build, "val_mae", sampler="tpe", n_trials=20, keep_best=0)
    trials = trials_of(run(tuner, n_workers=workers))
    assert set(states(tuner)) == {"COMPLETE"}
    assert len({tuple(trial.params.values()) for trial in trials}) == (4 if build is of_four else 1)
    assert len(trials) <= most


def test_what_was_enqueued_is_run_where_nothing_is_left(quick):
    """The user has asked for it again; the result of the first time is taken over."""
    tuner = run(quick(of_four, n_trials=20))
    tuner.study.enqueue_trial({"units": 2, "name": "a"})
    run(tuner)
    assert states(tuner) == ["COMPLETE"] * 5
    assert "repeat_of" in tuner.study.trials[-1].user_attrs


def test_another_search_of_the_study_changes_nothing_for_this_one(quick):
    """What was tried is told by the card of this search, not by the latest one of the study."""

    def begin_another(study, trial):
        ours = Card.latest(study)
        replace(ours, arguments={**ours.arguments, "batch_size": 7}).write(study)

    tuner = run(quick(of_four, n_trials=20), on_trial_end=begin_another)
    assert states(tuner) == ["COMPLETE"] * 4


def test_no_trial_begins_for_what_a_running_trial_may_ask_for(pace):
    """A trial whose builder has asked for one parameter of two may come to what is left."""
    pace(wait=0.01)
    study = optuna.create_study()
    ranges = {"units": IntDistribution(2, 3), "name": CategoricalDistribution(["a", "b"])}
    for units in (2, 3):
        params = {"units": units, "name": "a"}
        study.add_trial(create_trial(params=params, distributions=ranges, value=0.0))
    trials = []
    with own_runs.leaving_all():
        for _ in range(2):
            trials.append(study.ask())
            trials[-1].suggest_int("units", 2, 3)
            own_runs.sign(study, trials[-1]._trial_id)
            left = Budget(20, StopConditions(Deadline(0.1))).claim(study, Watch())
            assert (left is None) is (len(trials) == 2)
    assert len(study.trials) == 5


def test_the_second_worker_waits_for_the_first_parameter_alone(pace):
    """Once the builder of the only trial has asked, another worker begins the next one."""
    pace(wait=0.01)
    study, budget = optuna.create_study(), Budget(4, StopConditions(Deadline(0.1)))
    with own_runs.leaving_all():
        first = budget.claim(study, Watch())
        assert budget.claim(study, Watch()) is None
        first.suggest_float("x", 0, 1)
        budget = Budget(4, StopConditions(Deadline(60)))
        assert budget.claim(study, Watch()).number == 1


def test_nobody_waits_long_for_a_builder_that_asks_late(pace):
    """It may load its data for minutes, in which other workers can train."""
    pace(wait=0.01, patience=0.05)
    study, budget = optuna.create_study(), Budget(4, StopConditions(Deadline(60)))
    with own_runs.leaving_all():
        assert [budget.claim(study, Watch()).number for _ in range(2)] == [0, 1]


ENDS = {"1 trial brought no better value": 1, "AfterTwo expects no gain": AfterTwo()}
if find_spec("optuna.terminator"):  # which Optuna 6 will not have
    ENDS["Terminator expects no gain"] = stagnation()


@pytest.mark.parametrize(("why", "terminator"), ENDS.items(), ids=ENDS)
def test_a_terminator_ends_the_search(quick, capsys, terminator, why):
    """A number of trials without gain, or an object that is asked, ends it and is named."""
    tuner = run(quick(that_learns_nothing, terminator=terminator, n_trials=10), verbose=2)
    assert len(finished(tuner)) == 2
    assert capsys.readouterr().out.splitlines()[-1] == f"Stopped: {why}"
    tuner.summary()
    printed = " ".join(capsys.readouterr().out.split())
    assert f"The search ended after 2 trials. Stopped: {why}." in printed


@pytest.mark.parametrize(
    ("gains", "attrs", "ends"),
    [
        ([0.009, 0.009], {}, False),
        ([0.5, 0.009, 0.009, 0.009], {}, True),
        ([0.009, 0.02, 0.009], {}, False),
        ([0.02] * 3, {"std": 0.2, "values": [0.9, 1.0, 1.1, 1.0]}, True),
        ([0.2] * 3, {"std": 0.2, "values": [0.9, 1.0, 1.1, 1.0]}, False),
    ],
    ids=["two", "latest three", "one of them", "within the error", "above the error"],
)
def test_a_search_ends_where_its_sampler_expects_little(gains, attrs, ends):
    """That is less than a hundredth of the way from the median to the best, or than its error."""
    study = optuna.create_study()
    for value, of_best in ((1.0, attrs), (2.0, {}), (3.0, {})):
        study.add_trial(create_trial(value=value, user_attrs=of_best))
    for gain in gains:
        expected = {TrialRecord.expected_gain: gain}
        study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs=expected))
    told = StopConditions(terminator="auto").stop(study, asks=True)
    assert told == (f"Stopped: another trial is expected to gain {gains[-1]:.1g}" if ends else None)


@pytest.mark.parametrize("worst", [1.5, math.inf])
def test_a_tie_of_most_trials_does_not_hide_that_little_is_expected(worst):
    """Where the median is the best value, the worst one counts; one that is infinite never does."""
    study = optuna.create_study()
    for value in (1.0, 1.0, 1.0, 1.5, worst):
        study.add_trial(create_trial(value=value))
    for _ in range(3):
        expected = {TrialRecord.expected_gain: 0.004}
        study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs=expected))
    assert StopConditions(terminator="auto").stop(study, asks=True)


def slope(trial):
    return Untrained(2, [{"val_mae": trial.suggest_float("x", 0.0, 1.0) ** 2}])


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["auto", "gp"])
def test_auto_ends_a_search_that_has_found_the_best(quick, capsys, sampler):
    """Each trial that the process draws records what it is expected to gain, if that is asked."""
    tuner = quick(slope, n_trials=60, terminator="auto", sampler=sampler, pruner="none", seed=1)
    run(tuner, verbose=2)
    assert "Stopped: another trial is expected to gain" in capsys.readouterr().out
    assert len(finished(tuner)) < 40
    assert tuner.best_value < 1e-3
    gains = [TrialRecord(trial).expected_gain for trial in finished(tuner)]
    assert gains[:5] == [None] * 5
    assert all(gain >= 0 for gain in gains[5:])
    tuner.summary()
    assert f"Another trial is expected to gain {gains[-1]:.1g}" in capsys.readouterr().out


def test_no_gain_is_recorded_unless_it_decides(quick):
    """A search without terminator="auto" writes no further attribute."""
    trials = finished(run(quick(slope, n_trials=7, sampler="gp", pruner="none")))
    assert [TrialRecord(trial).expected_gain for trial in trials] == [None] * 7


EARLY = {"value": {"stop_at": 0.5}, "no gain": {"terminator": 1}, "timeout": {"timeout": 600}}


@pytest.mark.parametrize("end", [*EARLY, "Ctrl-C"])
def test_a_search_that_ends_early_leaves_nothing_laid_out(quick, monkeypatch, end):
    """What nobody enqueued waits for nobody, and no table and no function of the user has it."""

    def ending(trial):
        if (end, trial.number) == ("timeout", 1):
            monkeypatch.setattr(Deadline, "seconds_left", lambda _: -1.0)
        if (end, trial.number) == ("Ctrl-C", 1):
            raise KeyboardInterrupt
        model = that_learns_nothing(trial)
        model.curve[0]["val_mae"] += (end, trial.number) == ("value", 0)
        return model

    tuner, seen = quick(ending, n_trials=9, pruner="none", **EARLY.get(end, {})), []
    with pytest.raises(KeyboardInterrupt) if end == "Ctrl-C" else nullcontext():
        run(tuner, on_trial_end=lambda study, trial: seen.append(trial.number))
    waiting = [trial for trial in tuner.study.trials if trial.state is TrialState.WAITING]
    assert [TrialRecord(trial).retry_of for trial in waiting] == [1] * (end == "Ctrl-C")
    assert sorted(tuner.results()["number"]) == [0, 1]
    assert seen == [0, 1][: 1 if end == "Ctrl-C" else 2]


def test_who_ends_a_search_ends_it_for_all_workers():
    """What one worker finds holds for the others, also where one of them finds a gain after all."""
    study = optuna.create_study()
    ending = StopConditions(terminator=1)
    study.add_trials(optuna.trial.create_trial(value=value) for value in (2.0, 2.0))
    assert ending.reason(study) is None  # which asks nothing
    assert ending.stop(study, asks=True)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert pickle.loads(pickle.dumps(ending)).stop(study, asks=True)
    assert ending.reason(study) == "Stopped: 1 trial brought no better value"
    assert not StopConditions(terminator=1).stop(study, asks=True)  # that of another search


def test_a_search_ends_at_a_value_that_is_good_enough(quick, capsys):
    """The first trial that comes to it is the last one, until the user wants a better one."""
    tuner = quick(that_learns_nothing, stop_at=0.5, n_trials=3)
    run(tuner, verbose=2)
    assert capsys.readouterr().out.splitlines()[-1] == "Stopped: trial 0 reached 0.5"
    assert len(finished(run(tuner))) == 1
    run(quick(that_learns_nothing, stop_at=0.49, n_trials=3))
    assert len(finished(tuner)) == 3


def test_a_search_whose_time_is_over_before_any_trial_says_so(tmp_path):
    """Also with verbose=0, since a search without results would else look like one that worked."""
    tuner = tuner_in(tmp_path, n_trials=2, timeout=1e-9)
    with pytest.warns(UserWarning, match="before any trial had a result.*timeout="):
        run(tuner)


def test_a_search_that_may_go_on_reads_its_study_once():
    """Each worker asks before each of its trials."""

    class Counting(optuna.storages.InMemoryStorage):
        reads = 0

        def get_study_system_attrs(self, study_id):
            self.reads += 1
            return super().get_study_system_attrs(study_id)

    study = optuna.create_study(storage=Counting())
    study._storage.reads = 0
    assert StopConditions().stop(study) is None
    assert study._storage.reads == 1
