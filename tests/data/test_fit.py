"""What is tuned besides the model: a builder returns arguments of fit, each trial has its own."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from optuna.trial import TrialState, create_trial
from rich.console import Console

from kerastune_optuna._data import Given
from kerastune_optuna._report.facts import saved_epochs
from kerastune_optuna._report.live import Frame
from kerastune_optuna._report.progress import Plan
from kerastune_optuna._study.objectives import Objectives
from kerastune_optuna._study.retry import INTERRUPTED
from tests.support import falling
from tests.support.faults import interrupt_after
from tests.support.models import PruneAt, Spy, build_eager, build_model
from tests.support.untrained import X, run


def with_epochs(trial):
    return falling.build(trial), {"epochs": np.int64(trial.suggest_int("epochs", 3, 5))}


def test_epochs_are_tuned(search):
    """Each trial runs as long as its builder says, and a pruned one saves what is left of that."""
    tuner = search(with_epochs, n_trials=4, pruner=PruneAt([1], step=1), fit={"epochs": 20})
    trials, table = tuner.study.trials, tuner.results()
    assert table["epochs"].nunique() > 1
    assert list(table["epochs"]) == list(table["params_epochs"])
    for trial in trials:
        expected = 2 if trial.number == 1 else trial.params["epochs"]
        assert trial.user_attrs["epochs_run"] == expected
    epochs = trials[1].params["epochs"]
    assert trials[1].user_attrs["stop_reason"] == f"pruned at epoch 2/{epochs} by PruneAt"
    assert saved_epochs(trials, 20) == epochs - 2


@pytest.mark.parametrize(
    ("planned", "own", "told"),
    [(20, {"epochs": 4}, ["epoch 2/4", "about 30 s left"]), (1, {}, ["epoch 2/2"])],
    ids=["its own", "more than planned"],
)
def test_the_display_counts_the_epochs_of_each_trial(planned, own, told):
    """A running trial is shown out of its own epochs, and foretells the time by them."""
    plan = Plan("test", Objectives.parse("val_accuracy", "auto"), 2, planned)
    reports = {"intermediate_values": {0: 0.5, 1: 0.5}, "user_attrs": own}
    running = create_trial(state=TrialState.RUNNING, **reports)
    console = Console(width=100, file=io.StringIO())
    console.print(Frame(plan, [running], 10.0))
    assert [text for text in told if text in console.file.getvalue()] == told


@pytest.mark.slow
def test_a_trial_of_its_own_length_is_resumed(search):
    """After Ctrl-C the retry goes on from its backup, up to the epochs of its builder."""
    seen, ended = [], []

    def build(trial):
        callbacks = [Spy(seen), interrupt_after(3, ended)]
        return build_model(trial), {"epochs": 4, "callbacks": callbacks}

    with pytest.raises(KeyboardInterrupt):
        search(build, n_trials=1, backup_every=0)
    tuner = search(build, n_trials=1, backup_every=0)
    assert seen == ["begin", 0, 1, 2, "begin", 2, 3, "end"]
    assert list(tuner.results()["stop_reason"]) == [INTERRUPTED, "ran all epochs"]
    assert sorted(tuner.study.trials[1].intermediate_values) == [0, 1, 2, 3]


def test_the_builder_goes_before_search(search):
    """Where both give an argument, the builder's counts."""
    own = {"sample_weight": np.zeros(48), "epochs": 1}
    build = lambda trial: (build_eager(trial), own)  # noqa: E731
    tuner = search(build, "loss", n_trials=1, fit={"sample_weight": np.ones(48)})
    assert tuner.best_value == 0
    assert tuner.best_trial.user_attrs["epochs_run"] == 1


def test_callbacks_are_tuned_and_added(search):
    """A builder's callbacks act beside those of search(), and hold the very model that trains."""
    seen, held = [], []

    def build(trial):
        model = falling.build(trial)
        stopping = keras.callbacks.EarlyStopping(
            "val_loss", patience=trial.suggest_int("patience", 1, 2), min_delta=100
        )
        holding = keras.callbacks.LambdaCallback(
            on_train_end=lambda logs: held.append(holding.model is model)
        )
        return model, {"callbacks": [stopping, holding]}

    tuner = search(build, n_trials=4, fit={"epochs": 9, "callbacks": [Spy(seen)]})
    assert {trial.params["patience"] for trial in tuner.study.trials} == {1, 2}
    for trial in tuner.study.trials:
        assert trial.state is TrialState.COMPLETE
        assert trial.user_attrs["epochs_run"] == (epochs := 1 + trial.params["patience"])
        assert trial.user_attrs["stop_reason"] == f"stopped at epoch {epochs}/9 by a callback"
    assert held == [True] * 4
    assert seen.count("begin") == 4


def test_a_builders_callbacks_write_into_folders_of_their_trials(search, tmp_path):
    """Neither one that is new in each trial nor one that is the same writes over another's file."""
    same = keras.callbacks.CSVLogger(tmp_path / "same.csv")

    def build(trial):
        new = keras.callbacks.CSVLogger(tmp_path / "new.csv")
        return falling.build(trial), {"callbacks": [new, same]}

    search(build, "val_loss", fit={"epochs": 1})
    for number in range(2):
        folder = tmp_path / "test" / f"trial_{number:04d}"
        assert sorted(path.name for path in folder.iterdir()) == ["new.csv", "same.csv"]


def seven(trial):
    """Make a callback, but for the second trial."""
    return 7 if trial.number == 1 else keras.callbacks.History()


@pytest.mark.parametrize(
    ("own", "callbacks", "reason"),
    [
        ({"epochs": 0}, [], "ArgumentError: epochs=0 is less than 1."),
        ({}, [seven], "which returned 7"),
    ],
    ids=["arguments", "callback"],
)
def test_what_is_wrong_in_a_later_trial_fails_that_trial(search, own, callbacks, reason):
    """A search that has a finished trial goes on, and the trial says what was wrong."""

    def build(trial):
        return falling.build(trial), own if trial.number == 1 else {}

    fit = {"epochs": 1, "callbacks": callbacks}
    table = search(build, "val_loss", train_repeats=True, fit=fit).results()
    assert list(table["state"]) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert reason in table["stop_reason"][1]


def test_a_pipeline_is_kept_in_memory_unless_steps_are_counted():
    """Also where only the builder counts them, since an epoch may then read a part alone."""
    pipeline = tf.data.Dataset.from_tensor_slices((X, X)).map(lambda x, y: (x, y)).batch(2)
    fit = Given(pipeline, None, 1, None, 0.0).loaded()
    assert fit.of_training({}, 0, 1).pipelines["x"] is not pipeline
    assert fit.of_training({"steps_per_epoch": 1}, 0, 1).pipelines["x"] is pipeline
    assert fit.of_training({}, 0, 1).x is pipeline


@pytest.mark.parametrize("weights", [(), (np.ones(4),)], ids=["pair", "with weights"])
def test_a_function_may_load_inputs_and_targets(quick, weights):
    """And weights of the rows; beside targets, two arrays are two inputs."""
    loaded = (X, X + 1, *weights)
    run(quick(n_trials=1), x=lambda: loaded, y=None)
    fit = Given(lambda: loaded, None, 1, None, 0.0).loaded()
    given = fit.x, fit.y, *fit.others.values()
    assert all(one is part for one, part in zip(given, loaded, strict=True))
    assert Given(lambda: loaded, X, 1, None, 0.0).loaded().x is loaded
