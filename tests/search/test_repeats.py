"""A configuration that comes again is not trained again, unless that is asked for."""

import optuna
import pytest

from kerastune_optuna._search import repeats
from kerastune_optuna._study import TrialRecord
from tests.support.models import PruneAt, Spy, kept
from tests.support.untrained import Untrained, run, tuner_in


def of_few(trial):
    units = trial.suggest_int("units", 2, 3)
    trial.suggest_categorical("name", ["a", "b"])
    return Untrained(units, [{"val_mae": 0.5 / (epoch + units)} for epoch in range(3)])


@pytest.fixture
def repeated(tmp_path):
    """Give a maker of tuners whose first two trials are to have one configuration."""

    def make(**options):
        tuner = tuner_in(tmp_path, of_few, "val_mae", **{"n_trials": 3, **options})
        tuner.enqueue({"units": 3, "name": "a"})
        tuner.enqueue({"name": "a", "units": 3.0})
        tuner.study.enqueue_trial({"units": 3, "name": "a"})
        return tuner

    return make


def test_a_repeated_configuration_costs_no_training(repeated, capsys):
    """Its trial has the result of the earlier one, and its weights are not kept twice."""
    seen = []
    tuner = run(repeated(keep_best=2, pruner="none"), callbacks=[Spy(seen)], verbose=2)
    first, again, other = tuner.study.trials
    assert seen.count("begin") == 2
    assert again.state == first.state
    assert again.params == first.params != other.params
    assert again.value == first.value
    assert again.intermediate_values == first.intermediate_values
    same = ("best_value", "best_epoch", "seed", "n_params")
    assert all(again.user_attrs[key] == first.user_attrs[key] for key in same)
    assert again.user_attrs["epochs_run"] == 0
    assert "repeats trial 0" in capsys.readouterr().out.splitlines()[1]
    assert [trial.number for trial in tuner.top_trials(3)] in ([0, 2], [2, 0])
    assert len(kept(tuner)) == len(tuner.best_models(2)) == 2


def test_a_repeated_pruned_configuration_is_pruned(repeated):
    """It was weak before, and what pruning saved is not counted twice."""
    tuner = run(repeated(pruner=PruneAt([0]), keep_best=0))
    assert list(tuner.results()["state"]) == ["PRUNED", "PRUNED", "COMPLETE"]
    assert "4 saved by pruning" in str(tuner._repr_html_())


def test_repeats_are_trained_where_that_is_asked_for(repeated):
    """train_repeats=True trains each trial."""
    tuner = run(repeated(train_repeats=True, keep_best=0, pruner="none"))
    assert list(tuner.results()["epochs_run"]) == [3, 3, 3]


def test_a_retry_repeats_no_later_trial():
    """It goes on from where its first try was; what other trials came to since is not its own."""
    study = optuna.create_study()

    def begun(**attrs):
        trial = study.ask()
        trial.suggest_int("units", 2, 2)
        for key, value in {TrialRecord.seed: trial.number, **attrs}.items():
            trial.set_user_attr(key, value)
        return trial

    first = begun()
    study.tell(begun(), 0.5)
    study.tell(first, state=optuna.trial.TrialState.FAIL)
    assert repeats.find_earlier(study, begun(**{TrialRecord.retry_of: 0})) is None
    assert repeats.find_earlier(study, begun()).number == 1
