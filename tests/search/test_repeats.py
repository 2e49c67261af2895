"""A configuration that comes again is not trained again, unless that is asked for."""

from dataclasses import replace

import optuna
import pytest
from optuna.pruners import HyperbandPruner, NopPruner

from kerastune_optuna import _optuna
from kerastune_optuna._search import Budget, StopConditions, repeats
from kerastune_optuna._search.grid import Grid
from kerastune_optuna._search.learning import LearningSampler
from kerastune_optuna._study import Card, Objective, TrialRecord, Watch
from kerastune_optuna._study.liveness import own_runs
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


def test_the_tree_is_made_once_for_a_reading():
    """Who asks what is left, and the sampler, share it until the trials are read again."""
    study = optuna.create_study()
    tree = repeats.Tree.of(study, None)
    assert repeats.Tree.of(study, None) is tree
    assert repeats.Tree.of(study, "a card") is not tree
    _optuna.known_trials(study, anew=True)
    assert repeats.Tree.of(study, None) is not tree


@pytest.mark.parametrize("pruner", [NopPruner(), HyperbandPruner(max_resource=9)])
def test_what_failed_with_other_code_is_tried_again_once(pruner):
    """Once the code is mended, a grid has no reason to leave a configuration out, or to repeat."""
    study, objective = optuna.create_study(pruner=pruner), Objective("val_mae", "minimize")
    for code, most in (("with a bug", 4), ("mended", None)):
        card = Card(code={"build_model": code})
        card.write(study)
        options = {"constrained": False, "may_repeat": False, "card": card.key}
        study.sampler = LearningSampler(Grid(1), objective, **options)
        budget = Budget(most, replace(StopConditions(), card=card.key))
        while (trial := budget.claim(study, Watch())) is not None:
            trial.suggest_int("units", 1, 3)
            trial.suggest_categorical("name", ["a", "b"])
            trial.set_user_attr(TrialRecord.card, card.key)
            trial.set_user_attr(TrialRecord.epochs, 1)
            own_runs.leave(study._storage, trial._trial_id)
            study.tell(trial, *([0.5] if most is None else [None, optuna.trial.TrialState.FAIL]))
            if trial.number + 1 == most:
                break
    points = [tuple(trial.params.values()) for trial in study.trials[4:]]
    assert len(points) == len(set(points)) == 6
