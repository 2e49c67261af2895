"""What ends a search before its budget is spent: nothing left to try, and no gain expected."""

from __future__ import annotations

import pickle
import warnings

import keras
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.terminator import (
    BestValueStagnationEvaluator,
    CrossValidationErrorEvaluator,
    Terminator,
)
from optuna.trial import TrialState, create_trial

from kerastune_optuna import ArgumentError
from kerastune_optuna._search import Budget, Ending
from kerastune_optuna._search.stopping import Deadline
from kerastune_optuna._study import Watch, lay_out
from kerastune_optuna._study.liveness import leaving_all, sign


class AfterTwo:
    """Be a terminator that has enough after two trials."""

    def should_terminate(self, study):
        """Count the trials."""
        return len(study.get_trials(states=[TrialState.COMPLETE])) >= 2


def stagnation(evaluate_error=lambda: None):
    """Return Optuna's terminator for a value that stagnates."""
    with warnings.catch_warnings():
        # Optuna 5 means to drop its terminators, and marks the evaluators as experimental.
        warnings.simplefilter("ignore", (FutureWarning, ExperimentalWarning))
        return Terminator(BestValueStagnationEvaluator(0), evaluate_error(), min_n_trials=1)


def frozen():
    """Return a classifier whose validation loss is the same in each trial."""
    softmax = keras.layers.Dense(3, activation="softmax", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((4,)), softmax])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    return model


def that_learns_nothing(trial):
    """Return that classifier, of which there are as many configurations as numbers."""
    trial.suggest_float("lr", 0, 1)
    return frozen()


def of_four(trial):
    """Return that classifier, of which there are four configurations."""
    trial.suggest_int("units", 2, 3)
    trial.suggest_categorical("name", ["a", "b"])
    return frozen()


@pytest.mark.slow
def test_a_search_ends_where_nothing_is_left(search, make_tuner, capsys):
    """Four configurations are tried once each, and the search without a limit says so."""
    tuner = search(
        of_four, "val_loss", sampler="tpe", n_trials=None, fit={"epochs": 1, "verbose": 2}
    )
    assert len({tuple(trial.params.values()) for trial in tuner.study.trials}) == 4
    assert len(tuner.study.trials) == 4
    end = "All 4 configurations were tried: nothing is left"
    assert capsys.readouterr().out.splitlines()[-1] == end
    tuner = search(
        tuner=make_tuner(of_four, "val_loss", n_trials=20), fit={"epochs": 1, "verbose": 2}
    )
    assert len(tuner.study.trials) == 4
    assert capsys.readouterr().out.splitlines()[-1] == end


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_no_slot_waits_for_what_is_not_there(search, workers):
    """Where all was tried before the study has its size, each of its trials has ended."""
    fit = {"epochs": 1, "n_workers": workers}
    tuner = search(of_four, "val_loss", sampler="tpe", n_trials=20, fit=fit)
    trials = tuner.study.trials
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert len({tuple(trial.params.values()) for trial in trials}) == 4
    # Two workers that ask in the same milliseconds may draw the same configuration.
    assert len(trials) <= 4 * workers


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_waits_where_there_is_one_configuration(search, workers):
    """Its second trial is not laid out before the first one has shown that there is no other."""

    def build(trial):
        trial.suggest_categorical("name", ["a"])
        return frozen()

    tuner = search(build, "val_loss", n_trials=20, fit={"epochs": 1, "n_workers": workers})
    assert {trial.state.name for trial in tuner.study.trials} == {"COMPLETE"}
    assert len(tuner.study.trials) <= workers


@pytest.mark.slow
def test_what_was_enqueued_is_run_where_nothing_is_left(search, make_tuner):
    """The user has asked for it again; the result of the first time is taken over."""
    options = {"build": of_four, "objective": "val_loss", "n_trials": 20}
    tuner = make_tuner(**options)
    search(tuner=tuner, fit={"epochs": 1})
    tuner.study.enqueue_trial({"units": 2, "name": "a"})
    trials = search(tuner=make_tuner(**options), fit={"epochs": 1}).study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    assert "repeat_of" in trials[-1].user_attrs


def test_no_slot_is_laid_out_for_what_a_running_trial_may_ask_for():
    """A trial whose builder has asked for one parameter of two may come to what is left."""
    study = optuna.create_study()
    ranges = {"units": IntDistribution(2, 3), "name": CategoricalDistribution(["a", "b"])}
    for units in (2, 3):
        params = {"units": units, "name": "a"}
        study.add_trial(create_trial(params=params, distributions=ranges, value=0.0))
    running = study.ask()
    running.suggest_int("units", 2, 3)
    lay_out(study)
    with leaving_all():
        sign(study, running._trial_id)
        taken = Budget(n_trials=20, deadline=None, max_failed_trials=10).claim(study, Watch())
    assert taken.number == 3
    assert len(study.trials) == 4


def test_the_second_worker_waits_for_the_first_parameter_alone(monkeypatch):
    """Once the builder of the only trial has asked, another worker lays out the next one."""
    monkeypatch.setattr("kerastune_optuna._search.slots._PATIENCE", float("inf"))
    study, budget = optuna.create_study(), Budget(4, Deadline(60), None)
    with leaving_all():
        budget.prepare(study)
        budget.claim(study, Watch()).suggest_float("x", 0, 1)
        assert budget.claim(study, Watch()).number == 1


@pytest.mark.parametrize(
    ("terminator", "line"),
    [
        (1, "Stopped: 1 trial brought no better value"),
        (AfterTwo(), "Stopped: AfterTwo expects no gain"),
        (stagnation(), "Stopped: Terminator expects no gain"),
    ],
    ids=["number", "object", "optuna"],
)
def test_a_terminator_ends_the_search(search, capsys, terminator, line):
    """A number of trials without gain, or an object that is asked, ends it and is named."""
    options = {"terminator": terminator, "n_trials": 10}
    fit = {"epochs": 1, "verbose": 2}
    tuner = search(that_learns_nothing, "val_loss", **options, fit=fit)
    assert len(tuner.study.get_trials(states=[TrialState.COMPLETE])) == 2
    assert capsys.readouterr().out.splitlines()[-1] == line
    tuner.summary()
    printed = " ".join(capsys.readouterr().out.split())
    assert f"The search ended after 2 trials. {line}." in printed


def test_who_ends_a_search_ends_it_for_all_workers():
    """What one worker finds holds for the others, also where one of them finds a gain after all."""
    study = optuna.create_study()
    ending = Ending(terminator=1)
    study.add_trials(optuna.trial.create_trial(value=value) for value in (2.0, 2.0))
    assert ending.reason(study) is None  # which asks nothing
    assert ending.stop(study, asks=True)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert pickle.loads(pickle.dumps(ending)).stop(study, asks=True)
    assert ending.reason(study) == "Stopped: 1 trial brought no better value"
    assert not Ending(terminator=1).stop(study, asks=True)  # that of another search


def test_a_terminator_that_needs_cross_validation_is_refused(make_tuner):
    """Optuna's default asks for scores that nobody reports, and raises after some trials."""
    with pytest.raises(ArgumentError, match=r"no cross-validation\. Pass a number"):
        make_tuner(terminator=stagnation(CrossValidationErrorEvaluator))


def trained(tuner):
    """Return how many trials ran; another may wait in the study for a search that goes on."""
    return sum(trial.state.is_finished() for trial in tuner.study.trials)


def test_a_search_ends_at_a_value_that_is_good_enough(search, capsys):
    """The first trial that comes to it is the last one, also of a search that goes on."""
    fit = {"epochs": 1, "verbose": 2}
    tuner = search(that_learns_nothing, "val_loss", stop_at=1e9, n_trials=3, fit=fit)
    assert trained(tuner) == 1
    value = tuner.best_value
    assert capsys.readouterr().out.splitlines()[-1] == f"Stopped: trial 0 came to {value:g}"
    search(tuner=tuner, fit=fit)
    assert trained(tuner) == 1


def test_a_value_that_no_trial_comes_to_stops_nothing(search):
    """A loss that stays above it is not good enough."""
    tuner = search(that_learns_nothing, "val_loss", stop_at=0.0, n_trials=2, fit={"epochs": 1})
    assert len(tuner.study.trials) == 2
