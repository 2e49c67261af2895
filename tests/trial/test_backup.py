"""Backups of running trials: how often, what a retry goes on with, and what begins anew."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerastune_optuna._storage.artifacts import WholeFileStore
from kerastune_optuna._study.record import BACKUP
from kerastune_optuna._trial import backup
from kerastune_optuna._trial.archive import Archive
from tests.conftest import build_model, kept
from tests.trial.test_unbuilt import gan, of_tensorflow
from tests.untrained import run, tuner_in


class Counter(keras.callbacks.Callback):
    """Note the epochs, and how many of them this copy has seen."""

    def __init__(self, seen):
        super().__init__()
        self.seen, self.own = seen, 0

    def __deepcopy__(self, memo):
        return Counter(self.seen)

    def on_epoch_end(self, epoch, logs=None):
        """Interrupt the third epoch that there ever was."""
        self.own += 1
        self.seen.append((epoch, self.own))
        if len(self.seen) == 3:
            raise KeyboardInterrupt


def eager(trial):
    """Return the smallest classifier, which trains few rows sooner than it is traced."""
    model = build_model(trial)
    model.run_eagerly = True
    return model


def resumed(search, make_tuner, build=eager, objective="val_accuracy", fit=(), **options):
    """Interrupt a trial of four epochs in its third one and resume it; return what was seen."""
    seen = []
    fit = {"epochs": 4, "callbacks": [Counter(seen)], **dict(fit)}
    options = {"n_trials": 1, "backup_every": 0, **options}
    with pytest.raises(KeyboardInterrupt):
        search(build, objective, fit=fit, **options)
    interrupted = make_tuner(build, objective, **options)
    files, trials = kept(interrupted), interrupted.study.trials
    tuner = search(tuner=interrupted, fit=fit)
    assert [trial.state.name for trial in tuner.study.trials] == ["FAIL", "COMPLETE"]
    assert sorted(tuner.best_trial.intermediate_values) == [0, 1, 2, 3]
    return seen, files, trials


@pytest.mark.slow
def test_callbacks_of_the_user_begin_anew_where_a_trial_goes_on(search, make_tuner):
    """The model goes on after its last backup, and a copy of the callback counts from nothing."""
    seen, _, _ = resumed(search, make_tuner)
    assert seen == [(0, 1), (1, 2), (2, 3), (2, 1), (3, 2)]


class EndsLate(keras.callbacks.Callback):
    """Interrupt the end of the first training that there ever was."""

    interrupts = True

    def on_train_end(self, logs=None):
        """Press Ctrl-C once."""
        if EndsLate.interrupts:
            EndsLate.interrupts = False
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_trial_that_was_cut_off_after_its_last_epoch_had_all_of_them(search):
    """Whatever number Keras gives to the epoch, its retry trains none, and says so."""
    fit = {"initial_epoch": 3, "epochs": 6, "callbacks": [EndsLate()]}
    options = {"n_trials": 1, "backup_every": 0, "fit": fit}
    with pytest.raises(KeyboardInterrupt):
        search(eager, **options)
    (trial,) = [one for one in search(eager, **options).study.trials if one.value is not None]
    assert trial.user_attrs["stop_reason"] == "all epochs"
    assert trial.user_attrs["epochs_run"] == len(trial.intermediate_values) == 3


@pytest.mark.slow
def test_without_backups_a_trial_begins_anew(search, make_tuner):
    """With backup_every=None nothing of a running trial is kept, and its retry has all epochs."""
    seen, files, trials = resumed(search, make_tuner, backup_every=None)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 0, 1, 2, 3]
    assert files == []
    assert not any(BACKUP in trial.system_attrs for trial in trials)


@pytest.mark.slow
@of_tensorflow
def test_a_model_with_further_optimizers_trains_anew(search, make_tuner):
    """Keras keeps the state of the compiled optimizer alone, so that half a backup is not used."""
    fit = {"x": np.zeros((8, 4), "float32"), "y": None, "validation_data": None}
    options = {"direction": "minimize", "fit": fit}
    seen, files, _ = resumed(search, make_tuner, gan, "total_loss", **options)
    assert files != []
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 0, 1, 2, 3]


class Counting(WholeFileStore):
    """Count the backups."""

    backups = 0

    def write(self, artifact_id, content_body):
        """Count, and write."""
        self.backups += artifact_id.endswith(".backup")
        super().write(artifact_id, content_body)


@pytest.mark.parametrize(("every", "backups"), [(0, 5), (3600, 0)])
def test_backup_every_says_how_often(tmp_path, every, backups):
    """With 0 each of five epochs is backed up, and with an hour none of them."""
    store = Counting(tmp_path / "store")
    options = {"n_trials": 1, "artifact_store": store, "backup_every": every}
    run(tuner_in(tmp_path, objective="val_mae", **options))
    assert store.backups == backups


def test_the_first_epoch_is_prepared_for_an_interrupt_where_that_costs_nothing(
    tmp_path, monkeypatch
):
    """A backup of a small model is made ready before anybody knows how long it takes."""
    monkeypatch.setattr(backup, "SOON", 0)
    monkeypatch.setattr(backup, "_BASE", 0)
    monkeypatch.setattr(backup, "_SPEED", 1e12)
    prepared, prepare = [], Archive.prepare

    def noted(self, write):
        prepared.append(self)
        prepare(self, write)

    monkeypatch.setattr(Archive, "prepare", noted)
    run(tuner_in(tmp_path, objective="val_mae", n_trials=1), epochs=2)
    assert prepared


@pytest.mark.slow
def test_backups_change_no_digit(make_tuner):
    """A training that is backed up after a worse epoch draws what plain fit draws."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4))
    y = x.sum(axis=1)
    fit = {"x": x, "y": y, "validation_data": (x, -y), "epochs": 4, "verbose": 0}

    def build(trial):
        last = keras.layers.Dense(1, kernel_initializer="zeros")
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), last])
        model.compile(keras.optimizers.SGD(trial.suggest_float("lr", 0.01, 0.1)), "mse")
        return model

    trial = make_tuner(build, "val_loss", n_trials=1, backup_every=0).search(**fit).best_trial
    keras.utils.set_random_seed(trial.user_attrs["seed"])
    plain = build(trial).fit(**fit).history["val_loss"]
    assert trial.user_attrs["best_epoch"] == 0
    assert [trial.intermediate_values[epoch] for epoch in range(4)] == plain
