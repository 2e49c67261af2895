"""Confirm a search: its best configurations again, their means, the winner, and the luck."""

import os
import signal
import sys
from collections import Counter

import numpy as np
import optuna
import pytest
from keras.callbacks import EarlyStopping
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    BuilderError,
    NoTrialsError,
    TooManyFailuresError,
    WeightsError,
)
from kerastune_optuna._study import Home, TrialFiles, TrialRecord
from tests.support import falling, forks
from tests.support.falling import loss_of
from tests.support.faults import ROOT, meet
from tests.support.models import build_eager, in_classes
from tests.support.untrained import Noisy, run, tuner_in
from tests.support.untrained import X as ROWS
from tests.zoo.data import Batches

DATA = (ROWS, ROWS, (ROWS, ROWS))
TWO = {"a": 0.1, "b": 0.2}


def noisy(means, again=lambda trial, model: None):
    """Return a builder of models that come to the mean of their kind and noise, untrained."""

    def build(trial):
        model = Noisy(means[trial.suggest_categorical("kind", list(means))], 0.01)
        if "confirms" in trial.user_attrs:
            again(trial, model)
        return model

    return build


@pytest.fixture
def search_noisy(make_tuner):
    """Give a function that makes a tuner and searches each kind of a noisy builder once."""
    memory = optuna.storages.InMemoryStorage()

    def searched(means, *again, **options):
        options = {"n_trials": len(means), "sampler": "grid", "storage": memory, **options}
        return run(make_tuner(noisy(means, *again), "val_loss", **options), epochs=2)

    return searched


X, Y = in_classes(96)
VALIDATION, HELD_OUT = (X[48:72], Y[48:72]), (X[72:], Y[72:])


@pytest.fixture(
    scope="module", params=[falling.build, pytest.param(build_eager, marks=pytest.mark.slow)]
)
def trained(request, tmp_path_factory):
    """Give a tuner that searched and confirmed, on data that the search did not have.

    Its pruner would end each training before its third epoch, which the search does not reach.
    """
    folder = tmp_path_factory.mktemp("trained")
    pruner = optuna.pruners.ThresholdPruner(upper=0, n_warmup_steps=2)
    tuner = tuner_in(folder, request.param, "val_loss", n_trials=3, pruner=pruner)
    tuner.search(X[:48], Y[:48], validation_data=VALIDATION, epochs=2, verbose=0)
    with pytest.warns(UserWarning, match="epochs was 2 and is 3"):
        tuner.confirm(2, 2, X[:48], Y[:48], HELD_OUT, epochs=3, verbose=0)
    return tuner


def executions(tuner):
    name = tuner.study.user_attrs["kerastune_optuna:confirmation"]["study"]
    return optuna.load_study(study_name=name, storage=tuner.study._storage).trials


def completed(tuner):
    return Counter(
        (one.user_attrs["confirms"], one.user_attrs["seed"])
        for one in executions(tuner)
        if one.state is TrialState.COMPLETE
    )


def test_the_best_configurations_are_trained_again(trained):
    """The best configurations are trained with their parameters and fresh seeds, and to the end."""
    best = {trial.number: trial for trial in trained.study.trials}
    for one in executions(trained):
        assert one.state is TrialState.COMPLETE
        assert one.params == best[one.user_attrs["confirms"]].params
        assert one.user_attrs["epochs_run"] == 3
    seeds = [trial.user_attrs["seed"] for trial in (*executions(trained), *trained.study.trials)]
    assert len(set(seeds)) == 4 + 3


def test_the_ranking_is_read_from_the_executions(trained):
    """The two best trials of the search are ranked by the means of their executions."""
    found = trained.confirmation
    best = sorted(trained.study.trials, key=lambda trial: (trial.value, trial.number))[:2]
    assert {row.number for row in found.ranking} == {trial.number for trial in best}
    for row in found.ranking:
        its = [one for one in executions(trained) if one.user_attrs["confirms"] == row.number]
        assert row.values == tuple(one.value for one in its)
    assert found.winner.mean <= found.ranking[1].mean


def test_the_winner_is_the_best_model(trained, capsys):
    """best_model() is the winner's best execution on the held-out data, and one line says so."""
    winner = trained.confirmation.winner
    loss = loss_of(trained.best_model(), (None, None, HELD_OUT))
    assert loss == pytest.approx(min(winner.values))
    assert capsys.readouterr().out == (
        f"The best model is the best execution of trial {winner.number}, which won confirm(), "
        f"with val_loss {min(winner.values):.6g}\n"
    )


def test_each_configuration_keeps_its_best_weights(trained):
    """The weights of one execution of each configuration are left, since any may win later."""
    folder, files = trained._home.folder / "weights", trained._home.files
    whole = [
        one.value
        for one in executions(trained)
        if any((folder / name).exists() for name in files.ids(one, TrialFiles.WEIGHTS))
    ]
    assert sorted(whole) == sorted(min(row.values) for row in trained.confirmation.ranking)


def test_the_models_of_the_search_stay(trained, capsys):
    """best_models() and a trial's number still give what the search found, without a line."""
    best = trained.best_trial
    for model in (trained.best_models(1)[0], trained.best_model(trial=best.number)):
        assert loss_of(model, (None, None, VALIDATION)) == pytest.approx(best.value, abs=1e-6)
    assert capsys.readouterr().out == ""


def test_the_best_value_stays_that_of_the_search(search_noisy):
    """Whoever wins a confirmation, best_trial and what comes of it are what the search found."""
    turn = lambda trial, model: setattr(model, "mean", 0.5 - model.mean)  # noqa: E731
    tuner = search_noisy({"a": 0.1, "b": 0.4}, turn)
    before = tuner.best_trial
    found = tuner.confirm(2, 2, *DATA, verbose=0)
    assert found.winner.params == {"kind": "b"}
    assert (tuner.best_trial.number, tuner.best_params) == (before.number, {"kind": "a"})
    assert tuner.best_value == before.value == pytest.approx(0.1, abs=0.05)


@pytest.mark.slow
def test_two_workers_share_the_executions(search_noisy, tmp_path):
    """Two processes train the executions, and each is there once."""
    tuner = search_noisy(TWO, lambda trial, model: meet(tmp_path, 2), storage=None)
    found = tuner.confirm(2, 4, *DATA, verbose=0, n_workers=2)
    assert set(completed(tuner).values()) == {1}
    assert [len(row.values) for row in found.ranking] == [4, 4]
    assert len({TrialRecord(one).process for one in executions(tuner)}) == 2


KILLED = """
import os, signal, sys
from tests.rerun.test_confirm import DATA, TWO, noisy
from tests.support.untrained import tuner_in

def kill(trial, model):
    if trial.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)

tuner_in(sys.argv[1], noisy(TWO, kill), "val_loss").confirm(2, 3, *DATA, verbose=0)
"""


@pytest.mark.slow
def test_a_killed_confirmation_goes_on(search_noisy, tmp_path):
    """Killed in the middle and called again, each execution is there once, and none is missing."""
    tuner = search_noisy(TWO, storage=None)
    script = [sys.executable, "-c", KILLED, str(tmp_path / "tuning")]
    done = forks.run(script, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(completed(tuner)) == 3
    with pytest.raises(NoTrialsError, match="3 executions are missing in study 'test'"):
        _ = tuner.confirmation
    assert tuner.confirm(2, 3, *DATA, verbose=0) == tuner.confirmation
    assert set(completed(tuner).values()) == {1}
    assert len(completed(tuner)) == 6


def test_ctrl_c_says_how_to_go_on(search_noisy, capsys):
    """An interrupted confirmation says what to call, and trains nothing twice then."""
    calls = []

    def stop(trial, model):
        calls.append(trial)
        if len(calls) == 3:
            raise KeyboardInterrupt

    tuner = search_noisy(TWO, stop)
    with pytest.raises(KeyboardInterrupt):
        tuner.confirm(2, 2, *DATA, verbose=0)
    said = capsys.readouterr().err
    assert "confirm() was stopped. Call it with the same arguments to continue" in said
    tuner.confirm(2, 2, *DATA, verbose=0)
    assert len(completed(tuner)) == 4
    assert len(calls) == (1 + 1) + 1 + (3 + 1), "a call builds the first model that it keeps twice"


def test_a_builder_may_stop_it(search_noisy):
    """After `trial.study.stop()` no further execution begins; called again, it goes on."""
    stopped = []

    def stop(trial, model):
        if not stopped:
            stopped.append(trial.study.stop())

    tuner = search_noisy(TWO, stop)
    with pytest.raises(NoTrialsError, match="3 executions are missing"):
        tuner.confirm(2, 2, *DATA, verbose=0)
    assert len(completed(tuner)) == 1
    tuner.confirm(2, 2, *DATA, verbose=0)
    assert set(completed(tuner).values()) == {1}


def test_only_what_is_missing_is_trained(search_noisy, capsys):
    """Called again it trains nothing; with more executions or configurations only those."""
    tuner = search_noisy({"a": 0.1, "b": 0.2, "c": 0.3})
    first = tuner.confirm(2, 2, *DATA, verbose=2)
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert {one.user_attrs["epochs_run"] for one in executions(tuner)} == {2}  # as in the search
    assert tuner.confirm(2, 2, *DATA, verbose=2) == first
    assert capsys.readouterr().out == f"Study '{first.study_name}' has all of its 4 executions\n"
    more = tuner.confirm(3, 3, *DATA, verbose=0)
    assert set(completed(tuner).values()) == {1}
    assert [len(one.values) for one in more.ranking] == [3, 3, 3]
    assert more.ranking[0].values[:2] == first.ranking[0].values


def test_a_smaller_request_trains_no_more_than_it_asks_for(search_noisy):
    """Interrupted on the way to 9 executions and called for 3, it trains those, and no other."""
    calls = []

    def stop(trial, model):
        calls.append(trial)
        if len(calls) == 1:
            raise KeyboardInterrupt

    tuner = search_noisy(TWO, stop)
    with pytest.raises(KeyboardInterrupt):
        tuner.confirm(2, 9, *DATA, verbose=0)
    found = tuner.confirm(1, 3, *DATA, verbose=0)
    assert [len(row.values) for row in found.ranking] == [3]
    assert tuner.confirmation == found
    assert sum(completed(tuner).values()) == 3
    more = tuner.confirm(2, 3, *DATA, verbose=0)
    assert [len(row.values) for row in more.ranking] == [3, 3]
    assert set(completed(tuner).values()) == {1}


def test_what_others_confirm_beyond_a_request_is_not_waited_for(search_noisy):
    """An execution that another process trains, and this call did not ask for, is left to it."""
    tuner = search_noisy({"a": 0.1})
    tuner.confirm(1, 2, *DATA, verbose=0)
    name = tuner.confirmation.study_name
    study = optuna.load_study(study_name=name, storage=tuner.study._storage)
    own = {"confirms": 0, "seed": 1, "worker": "another"}
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=own))
    assert len(tuner.confirm(1, 3, *DATA, verbose=0).winner.values) == 3


def test_other_data_is_another_confirmation(search_noisy):
    """Values that other data or arguments gave are not taken for those of these."""
    tuner, given = search_noisy({"a": 0.1}), {"validation_data": DATA[2], "verbose": 0}
    others = ({}, {"validation_data": (ROWS + 1, ROWS)}, {"epochs": 3}, {"batch_size": 2})
    with pytest.warns(UserWarning, match="otherwise than the search"):
        names = [tuner.confirm(1, 2, ROWS, ROWS, **{**given, **one}).study_name for one in others]
    assert len(set(names)) == 4
    assert tuner.confirmation.study_name in names


GIVEN = {"batch_size": 2, "class_weight": {0: 1.0, 1: 2.0}, "shuffle": False}
GIVEN |= {"initial_epoch": 1, "steps_per_epoch": 2}
AS_NUMPY = {"class_weight": dict(zip(np.arange(2), np.array([1.0, 2.0]), strict=True))}


def searched_with(make_tuner, **given):
    """Return a tuner that searched one trial with arguments of fit."""
    options = {"storage": optuna.storages.InMemoryStorage(), "n_trials": 1}
    return run(make_tuner(noisy({"a": 0.1}), "val_loss", **options), epochs=3, **given)


def arguments_of(trial, study):
    return study.user_attrs[f"card:{trial.user_attrs['card']}"]["arguments"]


def test_what_is_left_out_is_as_in_the_search(make_tuner):
    """Arguments that change a training, so that their lack is not taken for luck."""
    tuner = searched_with(make_tuner, **{**GIVEN, **AS_NUMPY})
    name = tuner.confirm(1, 2, *DATA, verbose=0).study_name
    assert tuner.confirm(1, 2, *DATA, verbose=0, **GIVEN).study_name == name
    study = optuna.load_study(study_name=name, storage=tuner.study._storage)
    known = arguments_of(tuner.study.trials[0], tuner.study)
    assert [arguments_of(one, study) for one in study.trials] == [known, known]
    assert known.items() >= {**GIVEN, "class_weight": {"0": 1.0, "1": 2.0}}.items()


OTHERWISE = [
    ({"batch_size": 2}, {"batch_size": None}, "batch_size was 2 and is None"),
    ({}, {"shuffle": False}, "shuffle was None and is False"),
    ({}, {"epochs": 2}, "epochs was 3 and is 2"),
    ({"callbacks": [EarlyStopping()]}, {}, r"callbacks was \['EarlyStopping'\] and is \[\]"),
    ({"sample_weight": np.ones(4)}, {}, r"sample_weight was float64\(4,\) and is None"),
    ({"sample_weight": np.ones(4)}, {"sample_weight": np.zeros(4)}, "sample_weight has other val"),
]


@pytest.mark.parametrize(("searched", "confirmed", "text"), OTHERWISE)
def test_what_is_not_as_in_the_search_is_told(make_tuner, searched, confirmed, text):
    """In one line, also of what a study does not hold; the same again is not told."""
    tuner = searched_with(make_tuner, **searched)
    with pytest.warns(UserWarning, match=f"otherwise than the search of study 'test': {text}"):
        tuner.confirm(1, 2, *DATA, verbose=0, **confirmed)
    tuner.confirm(1, 2, *DATA, verbose=0, **searched)


AS_BEFORE = [
    ({"x": lambda: (ROWS, ROWS, np.ones(4)), "y": None}, {}),
    ({}, {"batch_size": 32}),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("error:confirm")
@pytest.mark.parametrize(("searched", "more"), AS_BEFORE, ids=["weights loaded", "Keras's size"])
def test_what_only_looks_otherwise_is_not_told(tmp_path, searched, more):
    """Weights that workers will load, and the size of batches that Keras takes anyway."""
    tuner = tuner_in(tmp_path, noisy(TWO), "val_loss", n_trials=1)
    run(tuner, **searched)
    data = {"x": ROWS, "y": ROWS, "validation_data": (ROWS, ROWS), **searched, **more}
    tuner.confirm(1, 2, **data, verbose=0, n_workers=2)


def test_batches_have_their_own_size(make_tuner):
    """Where the search had arrays and a size of batches, which is told."""
    tuner = searched_with(make_tuner, batch_size=2)
    with pytest.warns(UserWarning, match="batch_size was 2 and is None"):
        tuner.confirm(1, 2, x=Batches(ROWS, ROWS), validation_data=DATA[2], verbose=0)


def test_a_configuration_is_confirmed_once(make_tuner):
    """Trials with the same parameters count as one configuration."""
    options = {"storage": optuna.storages.InMemoryStorage(), "train_repeats": True}
    tuner = make_tuner(noisy(TWO), "val_loss", n_trials=3, **options)
    for kind in "aab":
        tuner.enqueue({"kind": kind})
    found = run(tuner, epochs=1).confirm(2, 2, *DATA, verbose=0)
    assert [one.params for one in found.ranking] == [{"kind": "a"}, {"kind": "b"}]


def test_what_the_search_finds_later_leads_again(search_noisy, make_tuner, capsys):
    """A trial that is better than all that were confirmed gives the best model."""
    tuner = search_noisy({"a": 0.2})
    tuner.confirm(1, 2, *DATA, verbose=0)
    options = {"storage": tuner.study._storage, "train_repeats": True}
    later = make_tuner(noisy({"a": 0.1}), "val_loss", n_trials=2, **options)
    with pytest.warns(UserWarning, match="may not compare"):
        run(later, epochs=1)
    later.best_model()
    assert capsys.readouterr().out == ""
    assert later.confirmation == tuner.confirmation


def test_a_configuration_that_fails_comes_last(search_noisy):
    """A configuration of which executions fail does not win, however good its other values are."""

    def fail(trial, model):
        if model.mean == TWO["a"] and trial.number < 2:
            model.mean = np.nan

    tuner = search_noisy(TWO, fail)
    found = tuner.confirm(2, 3, *DATA, verbose=0)
    assert [(one.params["kind"], one.failed) for one in found.ranking] == [("b", 0), ("a", 1)]
    assert "wins: it is the only one of which no execution failed." in str(found)
    # What failed is tried again by the next call.
    again = tuner.confirm(2, 3, *DATA, verbose=0)
    assert [(one.params["kind"], one.failed) for one in again.ranking] == [("a", 0), ("b", 0)]


def test_a_confirmation_without_values_is_an_error(search_noisy):
    """Where every execution fails, there is one error that says where to look."""
    tuner = search_noisy({"a": 0.1}, lambda trial, model: setattr(model, "mean", np.nan))
    with pytest.raises(TooManyFailuresError, match="No configuration completed two executions in"):
        tuner.confirm(1, 2, *DATA, verbose=0)


def test_a_builder_that_asks_for_more_is_an_error(search_noisy, make_tuner):
    """No sampler chooses what the search's trial did not have."""

    def build(trial):
        trial.suggest_int("layers", 1, 5)
        return noisy(TWO)(trial)

    storage = search_noisy(TWO).study._storage
    tuner = make_tuner(build, "val_loss", storage=storage)
    with (
        pytest.warns(UserWarning, match="code of build_model has changed"),
        pytest.raises(BuilderError, match=r"asks for 'layers', which trial \d of the search did"),
    ):
        tuner.confirm(1, 2, *DATA, verbose=0)


@pytest.mark.filterwarnings("ignore:The code of build_model has changed")
def test_an_execution_that_failed_changes_no_value_of_the_next(search_noisy, make_tuner):
    """A parameter that the search did not have is what default_params says, again and again."""

    def build(trial):
        trial.suggest_float("new", 0, 1)
        if trial.number == 0:
            raise RuntimeError("no luck")
        return noisy({"a": 0.1})(trial)

    build.default_params = lambda: {"new": 0.1}
    storage = search_noisy({"a": 0.1}).study._storage
    tuner = make_tuner(build, "val_loss", storage=storage)
    tuner.confirm(1, 3, *DATA, verbose=0)
    assert [one.params["new"] for one in executions(tuner)] == [0.1, 0.1, 0.1]


def test_overwrite_deletes_the_executions_too(search_noisy, tmp_path):
    """A search that starts anew leaves no executions of the old one, and no files of theirs."""
    search_noisy({"a": 0.1}).confirm(1, 2, *DATA, verbose=0)
    tuner = search_noisy({"a": 0.1}, overwrite=True)
    assert optuna.get_all_study_names(tuner.study._storage) == ["test"]
    assert len(os.listdir(tmp_path / "tuning" / "test" / "weights")) == 1 + 1  # and a history
    with pytest.raises(NoTrialsError, match="Nothing is confirmed in study 'test'"):
        _ = tuner.confirmation


def test_the_command_line_means_the_search(search_noisy, tmp_path):
    """A study of executions beside that of the search need not be told from it by --study."""
    search_noisy({"a": 0.1}, storage=None).confirm(1, 2, *DATA, verbose=0)
    assert (
        Home.load_study(str(tmp_path / "tuning"), None, "--study with one of").study_name == "test"
    )


def test_lost_weights_of_the_winner_are_an_error(search_noisy, capsys):
    """Where the winner's weights are gone, a line before the error says whose they were."""
    tuner = search_noisy({"a": 0.1})
    tuner.confirm(1, 2, *DATA, verbose=0)
    for path in (tuner._home.folder / "weights").iterdir():
        path.unlink()
    with pytest.raises(WeightsError, match="has no weights of trial"):
        tuner.best_model()
    assert "the best execution of trial 0, which won confirm()" in capsys.readouterr().out


ERRORS = [
    ({"x": None}, ArgumentTypeError, "x=None: confirm.. trains again, but a study does not store"),
    ({"top": 0}, ArgumentError, "top=0 is less than 1. Pass how many configurations to train"),
    ({"top": 2.5}, ArgumentTypeError, "top=2.5 of type float is not a whole number"),
    ({"top": 3}, NoTrialsError, "has 2 COMPLETE configurations, fewer than top=3. Pass top=2 at"),
    ({"executions": 1}, ArgumentError, "executions=1 is less than 2. Pass 2 or more: one value"),
    ({"validation_data": None}, ArgumentError, "'val_loss' needs validation data, but there"),
    ({"epochs": None}, ArgumentTypeError, "epochs=None of type NoneType is not a whole number"),
    ({"verbose": 3}, ArgumentError, "verbose=3 is not a choice"),
    ({"batchsize": 8}, ArgumentTypeError, "Did you mean 'batch_size'"),
    ({"executor": 3}, ArgumentTypeError, "executor=3 is not a concurrent.futures.Executor"),
    ({"cv": 3}, ArgumentTypeError, "confirm.. got 'cv', which Model.fit does not take"),
]


@pytest.mark.parametrize(("change", "kind", "text"), ERRORS)
def test_bad_arguments_are_errors(make_tuner, change, kind, text):
    """An argument that cannot work is told before anything is trained."""
    storage = optuna.storages.InMemoryStorage()
    tuner, space = make_tuner(noisy(TWO), "val_loss", storage=storage), IntDistribution(0, 9)
    for units in range(2):
        own = {"params": {"units": units}, "distributions": {"units": space}}
        tuner.study.add_trial(create_trial(value=0.9, **own))
    arguments = {"top": 2, "executions": 2, "x": ROWS, "y": ROWS, "validation_data": (ROWS, ROWS)}
    with pytest.raises(kind, match=text):
        tuner.confirm(**{**arguments, "epochs": 1, **change})
    assert optuna.get_all_study_names(tuner.study._storage) == ["test"]


def test_an_execution_is_as_long_as_one_training_of_the_search(make_tuner):
    """By default, where a trial of the search was the mean of several trainings."""
    tuner = make_tuner(noisy({"a": 0.1}), "val_loss", n_trials=1, executions_per_trial=2)
    run(tuner, validation_data=None, cv=2, epochs=2)
    tuner.confirm(1, 2, *DATA, verbose=0)
    assert [one.user_attrs["epochs_run"] for one in executions(tuner)] == [2, 2]


@pytest.mark.filterwarnings("ignore:Not as in the trials")
def test_an_execution_is_as_long_as_the_best_trial_was(make_tuner):
    """Where a later search had fewer epochs, so that nothing differs from the trial's own."""
    tuner = make_tuner(noisy(TWO), "val_loss", n_trials=1)
    for kind, epochs in (("a", 3), ("b", 1)):
        tuner.enqueue({"kind": kind})
        run(tuner, epochs=epochs)
        tuner.n_trials = 2
    tuner.confirm(1, 2, *DATA, verbose=0)
    assert [one.user_attrs["epochs_run"] for one in executions(tuner)] == [3, 3]
