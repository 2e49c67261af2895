"""Confirm a search: its best configurations again, their means, the winner, and the luck."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import optuna
import pytest
import tensorflow as tf
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from kerastune_optuna import (
    ArgumentError,
    ArgumentTypeError,
    BuilderError,
    NoTrialsError,
    OptunaTuner,
    TooManyFailuresError,
    WeightsError,
)
from kerastune_optuna._data.digest import digest
from kerastune_optuna._rerun.confirmation import Confirmation, Confirmed
from kerastune_optuna._study.finding import load
from kerastune_optuna._study.monitor import Objective
from kerastune_optuna._trial.run import weights
from tests.benchmarks.luck import EXECUTIONS, TOP, TRIALS, Noisy, largest
from tests.support import forks
from tests.support.faults import meet
from tests.support.models import build_model

ROOT = Path(__file__).parent.parent.parent
ACCURACY = Objective("val_accuracy", "maximize")
ROWS = np.zeros((4, 1))
DATA = (ROWS, ROWS, (ROWS, ROWS))


def eager(trial):
    """Return the smallest classifier, which trains few rows sooner than it is traced."""
    model = build_model(trial)
    model.run_eagerly = True
    return model


def noisy(means, noise=0.01):
    """Return a builder of models that come to the mean of their kind and noise, untrained."""

    def build(trial):
        return Noisy(means[trial.suggest_categorical("kind", list(means))], noise)

    return build


@pytest.fixture
def search_noisy(make_tuner):
    """Give a function that makes a tuner and searches each kind of a noisy builder once."""
    memory = optuna.storages.InMemoryStorage()

    def run(means, build=None, **options):
        tuner = make_tuner(
            build or noisy(means),
            "val_loss",
            n_trials=len(means),
            sampler=optuna.samplers.GridSampler({"kind": list(means)}, seed=0),
            **{"storage": memory, **options},
        )
        return tuner.search(ROWS, ROWS, validation_data=(ROWS, ROWS), epochs=2, verbose=0)

    return run


def rows_of_three_kinds():
    """Return 96 rows of four numbers, and their kinds."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 96)
    return (rng.normal(size=(96, 4)) + np.eye(3, 4)[y] * 2).astype("float32"), y


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Give a tuner that searched and confirmed real trainings, and what it confirmed them on.

    Its pruner would end each of them before its third epoch, which the search does not reach.
    """
    x, y = rows_of_three_kinds()
    tuner = OptunaTuner(
        eager,
        n_trials=3,
        seed=0,
        directory=tmp_path_factory.mktemp("trained"),
        pruner=optuna.pruners.ThresholdPruner(lower=2, n_warmup_steps=2),
    )
    tuner.search(x[:48], y[:48], validation_data=(x[48:72], y[48:72]), epochs=2, verbose=0)
    held_out = x[72:], y[72:]
    tuner.confirm(2, 2, x[:48], y[:48], held_out, epochs=3, verbose=0)
    return tuner, held_out


def executions(tuner):
    """Return the trials of the last confirmation's study."""
    name = tuner.study.user_attrs["kerastune_optuna:confirmation"]["study"]
    return optuna.load_study(study_name=name, storage=tuner.study._storage).trials


def completed(tuner):
    """Return how often each execution was completed, by its configuration and seed."""
    return Counter(
        (one.user_attrs["confirms"], one.user_attrs["seed"])
        for one in executions(tuner)
        if one.state is TrialState.COMPLETE
    )


def row(number, values, searched=0.9, **options):
    """Return a configuration with the values of its executions."""
    trial = create_trial(
        value=searched, params={"units": number}, distributions={"units": IntDistribution(0, 9)}
    )
    trial.number = number
    return Confirmed(trial, values, **options)


def ranked(*rows):
    """Return a confirmation of configurations, the best first."""
    return Confirmation("test-confirm", ACCURACY, rows)


@pytest.mark.slow
def test_the_best_configurations_are_trained_again(trained):
    """The best configurations are trained with their parameters and fresh seeds, and to the end."""
    tuner, _ = trained
    best = {trial.number: trial for trial in tuner.study.trials}
    for one in executions(tuner):
        assert one.state is TrialState.COMPLETE
        assert one.params == best[one.user_attrs["confirms"]].params
        assert one.user_attrs["epochs_run"] == 3
    seeds = [trial.user_attrs["seed"] for trial in (*executions(tuner), *tuner.study.trials)]
    assert len(set(seeds)) == 4 + 3


def test_the_ranking_is_read_from_the_executions(trained):
    """The two best trials of the search are ranked by the means of their executions."""
    tuner, _ = trained
    found = tuner.confirmation
    best = sorted(tuner.study.trials, key=lambda trial: (-trial.value, trial.number))[:2]
    assert {row.number for row in found.ranking} == {trial.number for trial in best}
    for row in found.ranking:
        its = [one for one in executions(tuner) if one.user_attrs["confirms"] == row.number]
        assert row.values == tuple(one.value for one in its)
    assert found.winner.mean >= found.ranking[1].mean


def test_the_winner_is_the_best_model(trained, capsys):
    """best_model() is the winner's best execution on the held-out data, and one line says so."""
    tuner, held_out = trained
    winner = tuner.confirmation.winner
    accuracy = tuner.best_model().evaluate(*held_out, verbose=0)[1]
    assert accuracy == pytest.approx(max(winner.values))
    assert capsys.readouterr().out == (
        f"The best model is of trial {winner.number}, which won confirm(): its best execution, "
        f"with val_accuracy {max(winner.values):.6g}\n"
    )


def test_each_configuration_keeps_its_best_weights(trained):
    """The weights of one execution of each configuration are left, since any may win later."""
    tuner, _ = trained
    storage, done = tuner.study._storage, executions(tuner)
    whole = [one.value for one in done if weights.are_whole(tuner._home.store, storage, one)]
    assert sorted(whole) == sorted(max(row.values) for row in tuner.confirmation.ranking)


def test_the_models_of_the_search_stay(trained, capsys):
    """best_models() and a trial's number still give what the search found, without a line."""
    tuner, _ = trained
    x, y = rows_of_three_kinds()
    for model in (tuner.best_models(1)[0], tuner.best_model(trial=tuner.best_trial.number)):
        accuracy = model.evaluate(x[48:72], y[48:72], verbose=0)[1]
        assert accuracy == pytest.approx(tuner.best_trial.value, abs=1e-6)
    assert capsys.readouterr().out == ""


def test_the_best_value_stays_that_of_the_search(search_noisy):
    """Whoever wins a confirmation, best_trial and what comes of it are what the search found."""
    searched, confirmed = {"a": 0.1, "b": 0.4}, {"a": 0.4, "b": 0.1}

    def build(trial):
        return noisy(confirmed if "confirms" in trial.user_attrs else searched)(trial)

    tuner = search_noisy(searched, build)
    before = tuner.best_trial
    found = tuner.confirm(2, 2, *DATA, verbose=0)
    assert found.winner.params == {"kind": "b"}
    assert (tuner.best_trial.number, tuner.best_params) == (before.number, {"kind": "a"})
    assert tuner.best_value == before.value == pytest.approx(0.1, abs=0.05)


@pytest.mark.slow
def test_two_workers_share_the_executions(search_noisy, tmp_path):
    """Two processes train the executions, and each is there once."""

    def build(trial):
        if "confirms" in trial.user_attrs:
            meet(tmp_path, 2)
        return noisy({"a": 0.1, "b": 0.2})(trial)

    tuner = search_noisy({"a": 0.1, "b": 0.2}, build, storage=None)
    found = tuner.confirm(2, 4, *DATA, verbose=0, n_workers=2)
    assert set(completed(tuner).values()) == {1}
    assert [len(row.values) for row in found.ranking] == [4, 4]
    assert len({one.user_attrs["worker"] for one in executions(tuner)}) == 2


KILLED = """
import os, signal, sys
from kerastune_optuna import OptunaTuner
from tests.rerun.test_confirm import DATA, noisy

build, calls = noisy({"a": 0.1, "b": 0.2}), []
def build_model(trial):
    calls.append(trial.number)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return build(trial)

tuner = OptunaTuner(
    build_model, "val_loss", directory=sys.argv[1], study_name="test", n_trials=2, seed=0
)
tuner.confirm(2, 3, *DATA, verbose=0)
"""


@pytest.mark.slow
def test_a_killed_confirmation_goes_on(search_noisy, tmp_path):
    """Killed in the middle and called again, each execution is there once, and none is missing."""
    tuner = search_noisy({"a": 0.1, "b": 0.2}, storage=None)
    done = forks.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "tuning"), "5"], cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(completed(tuner)) == 3
    with pytest.raises(NoTrialsError, match="3 executions are missing in study 'test'"):
        _ = tuner.confirmation
    assert tuner.confirm(2, 3, *DATA, verbose=0) == tuner.confirmation
    assert set(completed(tuner).values()) == {1}
    assert len(completed(tuner)) == 6


def test_ctrl_c_says_how_to_go_on(search_noisy, capsys):
    """An interrupted confirmation says what to call, and trains nothing twice then."""
    calls = []  # in each call of search() and confirm() the first model kept is built twice

    def build(trial):
        calls.append(trial)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return noisy({"a": 0.1, "b": 0.2})(trial)

    tuner = search_noisy({"a": 0.1, "b": 0.2}, build)
    with pytest.raises(KeyboardInterrupt):
        tuner.confirm(2, 2, *DATA, verbose=0)
    assert (
        "confirm() was stopped. Call it with the same arguments to go on" in capsys.readouterr().err
    )
    tuner.confirm(2, 2, *DATA, verbose=0)
    assert len(completed(tuner)) == 4
    assert len(calls) == (2 + 1) + (1 + 1) + 1 + (3 + 1)


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


@pytest.mark.slow
def test_a_smaller_request_trains_no_more_than_it_asks_for(search_noisy):
    """Interrupted on the way to 50 executions and called for 5, it trains those, and no other."""
    calls = []

    def build(trial):
        calls.append(trial)
        if len(calls) == 2 + 2:
            raise KeyboardInterrupt
        return noisy({"a": 0.1, "b": 0.2})(trial)

    tuner = search_noisy({"a": 0.1, "b": 0.2}, build)
    with pytest.raises(KeyboardInterrupt):
        tuner.confirm(2, 50, *DATA, verbose=0)
    found = tuner.confirm(1, 5, *DATA, verbose=0)
    assert [len(row.values) for row in found.ranking] == [5]
    assert tuner.confirmation == found
    assert sum(completed(tuner).values()) == 5
    more = tuner.confirm(2, 5, *DATA, verbose=0)
    assert [len(row.values) for row in more.ranking] == [5, 5]
    assert set(completed(tuner).values()) == {1}


def test_what_others_confirm_beyond_a_request_is_not_waited_for(search_noisy):
    """An execution that another process trains, and this call did not ask for, is left to it."""
    tuner = search_noisy({"a": 0.1})
    tuner.confirm(1, 3, *DATA, verbose=0)
    name = tuner.confirmation.study_name
    study = optuna.load_study(study_name=name, storage=tuner.study._storage)
    own = {"confirms": 0, "seed": 1, "worker": "another"}
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=own))
    assert len(tuner.confirm(1, 4, *DATA, verbose=0).winner.values) == 4


IN_A_ZONE = """
from kerastune_optuna import OptunaTuner
from tests.rerun.test_confirm import DATA, noisy

build_model = noisy({"a": 0.1, "b": 0.2})
tuner = OptunaTuner(
    build_model, "val_loss", directory=sys.argv[1], study_name="test", n_trials=2, seed=0
)
tuner.confirm(1, 2, *DATA, verbose=2)
"""


@pytest.mark.slow
def test_the_time_zone_tells_no_confirmation_from_another(search_noisy, tmp_path):
    """Another process, in a container in another time zone, say, finds what was confirmed."""
    tuner = search_noisy({"a": 0.1, "b": 0.2}, storage=None)
    tuner.confirm(1, 2, *DATA, verbose=0)
    done = forks.run(
        [sys.executable, "-c", "import sys" + IN_A_ZONE, str(tmp_path / "tuning")],
        cwd=ROOT,
        env={**os.environ, "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "has all of its 2 executions" in done.stdout


@pytest.mark.slow
def test_other_data_is_another_confirmation(search_noisy):
    """Values that other data gave are not taken for those of these."""
    tuner = search_noisy({"a": 0.1, "b": 0.2})
    names = {
        tuner.confirm(2, 2, ROWS, ROWS, validation, **options, verbose=0).study_name
        for validation, options in [
            ((ROWS, ROWS), {}),
            ((ROWS + 1, ROWS), {}),
            ((ROWS, ROWS), {"epochs": 3}),
            ((ROWS, ROWS), {"batch_size": 2}),
        ]
    }
    assert len(names) == 4
    assert tuner.confirmation.study_name in names


def test_a_configuration_is_confirmed_once(make_tuner):
    """Trials with the same parameters count as one configuration."""
    options = {"storage": optuna.storages.InMemoryStorage(), "train_repeats": True}
    tuner = make_tuner(noisy({"a": 0.1, "b": 0.2}), "val_loss", n_trials=8, **options)
    tuner.search(ROWS, ROWS, validation_data=(ROWS, ROWS), epochs=1, verbose=0)
    found = tuner.confirm(2, 2, *DATA, verbose=0)
    assert [one.params for one in found.ranking] == [{"kind": "a"}, {"kind": "b"}]


def test_what_the_search_finds_later_leads_again(search_noisy, make_tuner, capsys):
    """A trial that is better than all that were confirmed gives the best model."""
    tuner = search_noisy({"a": 0.2, "b": 0.3})
    tuner.confirm(2, 2, *DATA, verbose=0)
    options = {"storage": tuner.study._storage, "train_repeats": True}
    later = make_tuner(noisy({"a": 0.1, "b": 0.1}), "val_loss", n_trials=3, **options)
    with pytest.warns(UserWarning, match="may not compare"):
        later.search(ROWS, ROWS, validation_data=(ROWS, ROWS), epochs=1, verbose=0)
    later.best_model()
    assert capsys.readouterr().out == ""
    assert later.confirmation == tuner.confirmation


def test_a_configuration_that_fails_comes_last(search_noisy):
    """A configuration of which executions fail does not win, however good its other values are."""

    def build(trial):
        model = noisy(means)(trial)
        if "confirms" in trial.user_attrs and model.mean == 0.1 and trial.number < 2:
            model.mean = float("nan")
        return model

    means = {"a": 0.1, "b": 0.2}
    tuner = search_noisy(means, build)
    found = tuner.confirm(2, 3, *DATA, verbose=0)
    assert [(one.params["kind"], one.failed) for one in found.ranking] == [("b", 0), ("a", 1)]
    assert "wins: it is the only one of which no execution failed." in str(found)
    # What failed is tried again by the next call.
    again = tuner.confirm(2, 3, *DATA, verbose=0)
    assert [(one.params["kind"], one.failed) for one in again.ranking] == [("a", 0), ("b", 0)]


def test_a_confirmation_without_values_is_an_error(search_noisy):
    """Where every execution fails, there is one error that says where to look."""

    def build(trial):
        model = noisy({"a": 0.1})(trial)
        model.mean = float("nan") if "confirms" in trial.user_attrs else model.mean
        return model

    tuner = search_noisy({"a": 0.1}, build)
    with pytest.raises(TooManyFailuresError, match="No configuration completed two executions in"):
        tuner.confirm(1, 2, *DATA, verbose=0)


def test_a_builder_that_asks_for_more_is_an_error(search_noisy, make_tuner):
    """No sampler chooses what the search's trial did not have."""

    def build(trial):
        trial.suggest_int("layers", 1, 5)
        return noisy({"a": 0.1, "b": 0.2})(trial)

    storage = search_noisy({"a": 0.1, "b": 0.2}).study._storage
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
    search_noisy({"a": 0.1, "b": 0.2}).confirm(2, 2, *DATA, verbose=0)
    tuner = search_noisy({"a": 0.1, "b": 0.2}, overwrite=True)
    assert optuna.get_all_study_names(tuner.study._storage) == ["test"]
    assert len(os.listdir(tmp_path / "tuning" / "test" / "weights")) == 2 + 1
    with pytest.raises(NoTrialsError, match="Nothing is confirmed in study 'test'"):
        _ = tuner.confirmation


def test_the_command_line_means_the_search(search_noisy, tmp_path):
    """A study of executions beside that of the search need not be told from it by --study."""
    search_noisy({"a": 0.1, "b": 0.2}, storage=None).confirm(2, 2, *DATA, verbose=0)
    assert load(str(tmp_path / "tuning"), None, "--study with one of").study_name == "test"


def test_lost_weights_of_the_winner_are_an_error(search_noisy):
    """Where the winner's weights are gone, the error names the model of the search."""
    tuner = search_noisy({"a": 0.1, "b": 0.2})
    tuner.confirm(2, 2, *DATA, verbose=0)
    for path in (tuner._home.folder / "weights").iterdir():
        path.unlink()
    with pytest.raises(WeightsError, match=r"won confirm\(\)\. best_models\(1\) gives the best"):
        tuner.best_model()


ERRORS = [
    ({"x": None}, ArgumentTypeError, "x=None: confirm.. trains anew, and a study does not store"),
    ({"top": 0}, ArgumentError, "top=0 is less than 1. Pass how many configurations to train"),
    ({"top": 2.5}, ArgumentTypeError, "top=2.5 of type float is not a whole number"),
    ({"top": 3}, NoTrialsError, "has 2 COMPLETE configurations, fewer than top=3. Pass top=2 at"),
    ({"executions": 1}, ArgumentError, "executions=1 is less than 2. Pass 2 or more: one value"),
    ({"validation_data": None}, ArgumentError, "'val_loss' needs validation, and there is none"),
    ({"verbose": 3}, ArgumentError, "verbose=3 is not a choice"),
    ({"batchsize": 8}, ArgumentTypeError, "Did you mean 'batch_size'"),
    ({"cv": 3}, ArgumentTypeError, "confirm.. got 'cv', which search.. alone takes. Leave it"),
]


@pytest.mark.parametrize(("change", "kind", "text"), ERRORS)
def test_bad_arguments_are_errors(make_tuner, change, kind, text):
    """An argument that cannot work is told before anything is trained."""
    storage = optuna.storages.InMemoryStorage()
    tuner = make_tuner(noisy({"a": 0.1, "b": 0.2}), "val_loss", storage=storage)
    tuner.study.add_trials([row(number, []).search_trial for number in range(2)])
    arguments = {"top": 2, "executions": 2, "x": ROWS, "y": ROWS, "validation_data": (ROWS, ROWS)}
    arguments["epochs"] = 1
    with pytest.raises(kind, match=text):
        tuner.confirm(**{**arguments, **change})
    assert optuna.get_all_study_names(tuner.study._storage) == ["test"]


def test_there_must_be_a_search(make_tuner):
    """Before any search there is nothing to confirm."""
    with pytest.raises(NoTrialsError, match=r"has no study 'test'. Call search\(\) first"):
        make_tuner(objective="val_loss").confirm(1, 2, *DATA)


@pytest.mark.parametrize("several", ["executions_per_trial", "cv"])
def test_an_execution_is_as_long_as_one_training_of_the_search(make_tuner, several):
    """By default, where a trial of the search was the mean of several trainings."""
    builder = noisy({"a": 0.1})
    if several == "cv":
        tuner = make_tuner(builder, "val_loss", n_trials=1)
        tuner.search(ROWS, ROWS, cv=3, epochs=2, verbose=0)
    else:
        tuner = make_tuner(builder, "val_loss", n_trials=1, executions_per_trial=3)
        tuner.search(ROWS, ROWS, validation_data=(ROWS, ROWS), epochs=2, verbose=0)
    tuner.confirm(1, 2, *DATA, verbose=0)
    assert [one.user_attrs["epochs_run"] for one in executions(tuner)] == [2, 2]


def test_epochs_that_nobody_wrote_down_must_be_passed(make_tuner):
    """A study that did not come from search() does not say how many epochs it had."""
    tuner = make_tuner(noisy({"a": 0.1}), "val_loss", storage=optuna.storages.InMemoryStorage())
    tuner.study.add_trial(create_trial(value=0.1))
    with pytest.raises(ArgumentError, match="does not say how many its search had"):
        tuner.confirm(1, 2, *DATA)


def test_a_tie_is_called_a_tie():
    """Means that chance may have set apart are a tie, and the table says with whom."""
    found = ranked(row(4, [0.90, 0.94]), row(2, [0.91, 0.92]), row(7, [0.5, 0.51], searched=0.8))
    assert not found.is_clear
    assert "Trial 4 leads, but that is a tie with 2 (Welch's t-test, p >= 0.05)." in str(found)


def test_a_clear_winner_is_called_clear():
    """Means that are far apart make a clear winner."""
    found = ranked(row(4, [0.95, 0.951, 0.952]), row(2, [0.90, 0.91, 0.92]))
    assert found.is_clear
    assert found.winner.number == 4
    assert "Trial 4 is the clear winner (Welch's t-test, p < 0.05)." in str(found)


def test_equal_values_have_no_spread():
    """Executions that all came to one value give an interval without width, and no warning."""
    same, other = row(1, [0.1 + 0.2] * 5), row(2, [0.3] * 5)
    assert same.interval == (same.mean, same.mean)
    assert ranked(same, other).is_clear
    assert not ranked(same, row(3, [0.1 + 0.2] * 5)).is_clear


def test_luck_is_what_the_best_value_was_too_good_by():
    """Luck compares the search's best value with the mean of that configuration, whoever won."""
    found = ranked(row(2, [0.93, 0.94], searched=0.92), row(4, [0.90, 0.91], searched=0.97))
    assert found.luck == pytest.approx(0.97 - 0.905)
    assert "best value, 0.97 of trial 4, was 0.065 better than the mean of its" in str(found)
    losses = Confirmation("x", Objective("val_loss", "minimize"), [row(1, [0.2, 0.3], 0.1)])
    assert losses.luck == pytest.approx(0.25 - 0.1)


def test_the_table_holds_what_was_found():
    """Each configuration has a row with mean, interval, p-value, and brackets as they are."""
    found = ranked(row(4, [0.94, 0.95]), row(2, [0.90, 0.91], failed=1))
    lines = [line.split() for line in str(found).splitlines()]
    assert ["1", "4", "0.945", "0.8815", "to", "1.009", "2", "0.9", "units=4"] in lines
    assert (next(line for line in lines if line[:2] == ["2", "2"])[:-1]) == [
        "2",
        "2",
        "0.905",
        "0.8415",
        "to",
        "0.9685",
        "2,",
        "1",
        "failed",
        "0.03",
        "0.9",
    ]
    assert "<pre> Study &#x27;test-confirm&#x27;: maximize" in found._repr_html_()


def simulated(rng, noise):
    """Return the confirmation of a search in which all configurations are as good as 0.9."""
    searched = sorted(0.9 + noise * rng.normal(size=TRIALS), reverse=True)[:TOP]
    rows = [
        row(number, list(0.9 + noise * rng.normal(size=EXECUTIONS)), value)
        for number, value in enumerate(searched)
    ]
    return ranked(*sorted(rows, key=lambda one: -one.mean))


def test_intervals_cover_and_luck_is_what_theory_says():
    """Of 100 intervals 90 or more cover the truth, and the naive best is as lucky as expected."""
    noise, rng = 0.02, np.random.default_rng(1)
    found = [simulated(rng, noise) for _ in range(100)]
    lucky = [next(row for row in one.ranking if row.number == 0) for one in found]
    assert sum(low <= 0.9 <= high for low, high in (row.interval for row in lucky)) >= 90
    assert largest(2) == pytest.approx(1 / np.sqrt(np.pi))
    # The luck of one search spreads by 0.65 standard deviations, and that of 100 by a tenth of it.
    assert np.mean([one.luck for one in found]) / noise == pytest.approx(largest(TRIALS), abs=0.2)
    assert sum(one.is_clear for one in found) <= 5


def loader(split):
    """Return a function that would load a split."""
    return lambda: split


def dataset(factor):
    """Return a pipeline, made anew."""
    rows = np.arange(8.0) * factor
    return tf.data.Dataset.from_tensor_slices((rows, rows)).shuffle(8).batch(2)


DIFFERENT = [
    (np.zeros(4), np.ones(4)),
    (np.zeros(4), np.zeros((2, 2))),
    (np.zeros(4), np.zeros(4, "float32")),
    (np.array(["a", None], object), np.array(["b", None], object)),
    (dataset(1), dataset(2)),
    (loader("validation"), loader("test")),
    (functools.partial(loader, "validation"), functools.partial(loader, "test")),
    (keras.callbacks.EarlyStopping(patience=2), keras.callbacks.EarlyStopping(patience=3)),
    ({"batch_size": 8}, {"batch_size": 16}),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_has_another_digest(one, other):
    """Content, shape, type, code and what a function was given all tell data apart."""
    assert digest(one) == digest(one) != digest(other)


def test_a_digest_is_the_same_when_made_anew():
    """Data and functions that are made again, as in another process, are the same."""
    for make in (lambda: np.arange(4), lambda: dataset(1), lambda: loader("validation")):
        assert digest(make()) == digest(make())
    assert digest(np.arange(4.0), 3, None, "a") == "1b3c750e"  # in any process
