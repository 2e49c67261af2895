"""Stores of weights that stumble: an S3 server that stops, refuses, and lets keys expire."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import keras
import optuna
import pytest

from kerastune_optuna import WeightsError
from kerastune_optuna._storage import artifacts
from kerastune_optuna._study.record import BACKUP, END
from kerastune_optuna._study.retry import DIED, INTERRUPTED
from kerastune_optuna._trial import archive
from tests import warm
from tests.faults import ROOT
from tests.s3 import opened, s3_server
from tests.untrained import Untrained, build, run, tuner_in


@pytest.fixture(scope="module")
def server():
    """Give a server that runs."""
    with s3_server() as given:
        yield given


@pytest.fixture
def s3(server):
    """Give the server, which runs, refuses nothing and has an empty bucket once more in the end."""
    yield server
    server.recover()


def improving(numbers=(), act=lambda: None):
    """Return a builder whose trials become better and better, and which acts in some of them."""

    def build_model(trial):
        units = trial.suggest_int("units", 1, 1000)
        if trial.number in numbers:
            act()
        return Untrained(units, [{"val_mae": 1 / (trial.number + epoch + 1)} for epoch in range(5)])

    return build_model


class Acting(keras.callbacks.Callback):
    """Do something at the end of some epochs."""

    def __init__(self, acts):
        super().__init__()
        self.acts = acts

    def __deepcopy__(self, memo):
        return self

    def on_epoch_end(self, epoch, logs=None):
        """Do what is for this epoch."""
        self.acts.get(epoch, lambda: None)()


def tuner_with(tmp_path, store, build_model=build, **options):
    """Return a tuner of one objective that keeps weights in a store."""
    return tuner_in(tmp_path, build_model, "val_mae", artifact_store=store, **options)


def needed(tuner):
    """Return the ids of the weights and the last state of the best trial, and of all histories."""
    storage, ids = tuner.study._storage, {tuner.best_trial.system_attrs[END]["id"]}
    for trial in tuner.study.trials:
        for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=storage):
            if meta.filename == "history.csv" or trial.number == tuner.best_trial.number:
                ids.add(meta.artifact_id)
    return ids


def states(tuner):
    """Return the names of the states of all trials."""
    return [trial.state.name for trial in tuner.study.trials]


@pytest.mark.slow
def test_a_new_best_waits_for_a_store_that_is_stopped(s3, tmp_path, capfd):
    """What a trial came to is saved once the server is back, and a line says that it is not."""

    def stop():
        s3.order("stop")
        s3.order_soon("start")

    tuner = tuner_with(tmp_path, s3.store(), improving({1}, stop), n_trials=2)
    run(tuner)
    assert tuner.best_trial.number == 1
    assert tuner.best_model().built
    assert s3.keys == needed(tuner)
    said = capfd.readouterr().err
    assert "The artifact store Boto3ArtifactStore 'weights' does not answer (Could not conn" in said


@pytest.mark.slow
def test_one_request_in_five_that_is_refused_costs_nothing(s3, tmp_path):
    """All trials end, the best weights are whole, and no file is left that nobody needs."""
    s3.order("refuse 5")
    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=8, backup_every=0)
    run(tuner)
    assert states(tuner) == ["COMPLETE"] * 8
    assert tuner.best_model().built
    s3.order("refuse 0")
    assert s3.keys == needed(tuner)


@pytest.mark.slow
def test_workers_open_a_store_that_refuses_requests(s3, search):
    """Two processes with a client each, which a function makes, save and load through refusals."""
    s3.order("refuse 5")
    url = s3.url
    options = {"n_trials": 4, "artifact_store": lambda: opened(url), "backup_every": 0}
    tuner = search(fit={"n_workers": 2}, **options)
    assert states(tuner) == ["COMPLETE"] * 4
    assert tuner.best_model().built
    s3.order("refuse 0")
    assert s3.keys == needed(tuner)


@pytest.mark.slow
def test_keys_that_expire_are_waited_for(s3, tmp_path, capfd):
    """Refused keys are tried again, since whoever has them may renew them."""

    def expire():
        s3.order("expire key")
        s3.order_soon("expire none")

    tuner = tuner_with(tmp_path, s3.store(), improving({1}, expire), n_trials=2)
    run(tuner)
    assert tuner.best_trial.number == 1
    assert tuner.best_model().built
    assert "does not answer (An error occurred (ExpiredToken)" in capfd.readouterr().err


def test_a_function_opens_a_store_again_with_new_keys(s3, tmp_path):
    """A client that has its keys for good is replaced by one with those that the function finds."""
    keys = ["key"]

    def expire():
        s3.order("expire key")
        keys.append("new")

    tuner = tuner_with(
        tmp_path, lambda: opened(s3.url, keys[-1]), improving({1}, expire), n_trials=2
    )
    run(tuner)
    assert tuner.best_model().built
    s3.order("expire none")
    assert s3.keys == needed(tuner)


def test_a_store_that_stays_away_is_named(s3, tmp_path, monkeypatch):
    """In the end one line says which store it was, and what it said last; the result is kept."""
    monkeypatch.setattr(artifacts, "_PATIENCE", 0.5)
    stop = lambda: s3.order("stop")  # noqa: E731
    tuner = tuner_with(tmp_path, s3.store(), improving({1}, stop), n_trials=2)
    store = "The artifact store Boto3ArtifactStore 'weights' did not answer for 0.5 s: Could not"
    with pytest.raises(WeightsError, match=f"weights of trial 1 cannot be saved: .*{store}") as got:
        run(tuner)
    assert len(str(got.value).splitlines()) == 1
    assert tuner.best_trial.number == 1


def test_a_store_that_never_worked_is_not_waited_for_long(s3, tmp_path, monkeypatch):
    """Keys that are wrong from the start are known before any training."""
    monkeypatch.setattr(artifacts, "_FIRST_PATIENCE", 0.5)
    s3.order("expire key")
    tuner = tuner_with(tmp_path, s3.store())
    with pytest.raises(WeightsError, match=r"artifact_store= cannot be written: .*ExpiredToken"):
        run(tuner)
    assert tuner.study.trials == []


def test_a_backup_that_fails_stops_no_training(s3, tmp_path, capfd, monkeypatch):
    """Epochs go on with one line and no wait, and the next backup that works takes its place."""
    monkeypatch.setattr(archive, "_TRAINS_FOR", 0)
    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=1, backup_every=0)
    seen = {}

    def look():
        seen["backup"] = tuner.study.trials[0].system_attrs[BACKUP]["id"]
        seen["files"] = s3.keys

    acts = {1: lambda: s3.order("stop"), 3: lambda: s3.order("start"), 4: look}
    run(tuner, callbacks=[Acting(acts)])
    assert tuner.best_trial.user_attrs["epochs_run"] == 5
    said = capfd.readouterr().err
    assert said.count("Trial 0 could not be backed up, and goes on: Could not connect") == 1
    assert "does not answer" not in said
    assert seen["files"] == {seen["backup"]}  # but for the one before, which is removed
    assert s3.keys == needed(tuner)


def test_a_store_that_fails_slowly_is_not_tried_in_each_epoch(s3, tmp_path, monkeypatch):
    """Ten times as long as a failed backup took belongs to the training."""
    monkeypatch.setattr(archive, "_TRAINS_FOR", 1e9)
    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=1, backup_every=0)
    seen = []
    acts = {
        0: lambda: s3.order("stop"),
        1: lambda: s3.order("start"),
        4: lambda: seen.extend(s3.keys),
    }
    run(tuner, callbacks=[Acting(acts)])
    assert seen == []


def interrupt():
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_for_a_store_that_is_stopped(s3, tmp_path):
    """The first Ctrl-C costs neither the trial that just ended nor its weights."""
    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=2)
    acts = {4: lambda: (s3.order("stop"), s3.order_soon("start"), interrupt())}
    with pytest.raises(KeyboardInterrupt):
        run(tuner, callbacks=[Acting(acts)])
    assert states(tuner)[0] == "COMPLETE"
    assert tuner.best_model().built


def test_an_interrupted_trial_waits_with_its_backup(s3, tmp_path):
    """The backup from which it goes on is in the store once that is back."""
    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=1)
    acts = {2: lambda: (s3.order("stop"), s3.order_soon("start"), interrupt())}
    with pytest.raises(KeyboardInterrupt):
        run(tuner, callbacks=[Acting(acts)])
    assert tuner.study.trials[0].user_attrs["stop_reason"] == INTERRUPTED
    assert s3.keys == {tuner.study.trials[0].system_attrs[BACKUP]["id"]}


@pytest.mark.slow
def test_a_second_interrupt_ends_the_wait_for_a_store(s3, tmp_path):
    """The trial whose weights could not be saved is run again by the next search."""
    tuner = tuner_with(tmp_path, s3.store(), improving(), n_trials=1)
    twice = threading.Timer(1, interrupt)
    acts = {4: lambda: (s3.order("stop"), interrupt(), twice.start())}
    with pytest.raises(KeyboardInterrupt):
        run(tuner, callbacks=[Acting(acts)])
    assert tuner.study.trials[0].user_attrs["stop_reason"] == INTERRUPTED
    s3.order("start")
    run(tuner)
    assert tuner.best_model().built


@pytest.mark.slow
def test_a_store_that_is_away_for_twenty_seconds(s3, tmp_path):
    """Backups are left out meanwhile, and the weights are saved when it is back."""

    def stop():
        s3.order("stop")
        threading.Timer(20, s3.order, ["start"]).start()

    tuner = tuner_with(tmp_path, s3.store(), improving({1}, stop), n_trials=3, backup_every=0)
    began = time.monotonic()
    run(tuner)
    assert time.monotonic() - began >= 20
    assert states(tuner) == ["COMPLETE"] * 3
    assert tuner.best_model().built
    assert s3.keys == needed(tuner)


KILLED = """
import os, signal, sys
import keras, numpy as np
from kerastune_optuna import OptunaTuner
from tests.conftest import build_model
from tests.s3 import opened

folder, database, url, epoch = sys.argv[1:]
seen = []

def look(now, logs):
    seen.append(now)
    if now == int(epoch):
        os.kill(os.getpid(), signal.SIGKILL)

x, y = np.random.default_rng(0).normal(size=(24, 4)), np.arange(24) % 3
places = {"directory": folder, "storage": database, "artifact_store": lambda: opened(url)}
tuner = OptunaTuner(
    build_model, "val_accuracy", n_trials=1, seed=0, study_name="test", backup_every=0, **places
)
watch = keras.callbacks.LambdaCallback(on_epoch_begin=look)
fit = {"validation_data": (x, y), "epochs": 6, "verbose": 0, "callbacks": [lambda trial: watch]}
tuner.search(x, y, **fit)
print(seen, len(tuner.best_trial.intermediate_values), tuner.best_model().built)
"""


@pytest.mark.slow
def test_a_killed_trial_goes_on_where_no_disk_is_shared(s3, tmp_path):
    """Another process with a folder of its own has the backup from the store alone."""
    database = f"sqlite:///{tmp_path / 'study.db'}"  # in the place of one that both reach

    def work(folder, epoch):
        arguments = [str(tmp_path / folder), database, s3.url, str(epoch)]
        return warm.run(
            [sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, cwd=ROOT
        )

    assert work("first", 3).returncode == -signal.SIGKILL
    assert not any((tmp_path / "first").rglob("*.backup"))
    done = work("second", 99)
    assert done.stdout.splitlines()[-1:] == ["[3, 4, 5] 6 True"], done.stderr
    study = optuna.load_study(study_name="test", storage=database)
    assert [one.user_attrs["stop_reason"] for one in study.trials] == [DIED, "all epochs"]
