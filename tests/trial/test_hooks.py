"""An interrupt waits for what is worth it, and loses nothing."""

import os
import signal
import threading
import time
from collections import Counter

import keras
import pytest

from kerastune_optuna import _signals
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import INTERRUPTED
from kerastune_optuna._trial import hooks
from kerastune_optuna._workers import processes
from tests.support.faults import (
    EpochLog,
    SlowStore,
    evaluated,
    interrupt_at,
    logged,
    trials_of,
    wait_until,
)
from tests.support.models import history, kept


@pytest.fixture
def hasty(monkeypatch):
    """Let what hangs end after three seconds: a busy machine needs more than one to clean up."""
    monkeypatch.setattr(_signals, "_GRACE", 3)
    monkeypatch.setattr(processes, "_PATIENCE", 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("soon", "goes_on"), [(60, 13), (0, 12)], ids=["short-epochs", "long-epochs"]
)
def test_an_interrupt_loses_no_epoch(
    search, make_tuner, data, tmp_path, monkeypatch, unhurried, soon, goes_on
):
    """A trial goes on after the epoch that ran, or where that lasts after its last backup."""
    monkeypatch.setattr(hooks, "SOON", soon)
    log = tmp_path / "log"
    fit = {"epochs": 20, "batch_size": 8, "callbacks": [EpochLog(log), interrupt_at(12)]}
    with pytest.raises(KeyboardInterrupt):
        search(n_trials=1, backup_every=0, fit=fit)
    tuner = search(tuner=make_tuner(n_trials=1), fit=fit)
    interrupted, resumed = trials_of(tuner)
    assert interrupted.user_attrs["stop_reason"] == INTERRUPTED
    assert sorted(interrupted.intermediate_values) == list(range(goes_on))
    again = [int(what) for number, what, *_ in logged(log) if number == 1 and what.isdigit()]
    assert again == list(range(goes_on, 20))
    curve = resumed.intermediate_values
    assert sorted(curve) == list(range(20))
    assert {step: curve[step] for step in range(goes_on)} == interrupted.intermediate_values
    assert [int(row["epoch"]) for row in history(tuner, 1)] == list(range(20))
    assert evaluated(tuner.best_model(), data) == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_an_interrupt_waits_for_its_backup(search, make_tuner, tmp_path, capfd, hasty):
    """A backup that takes longer than a hanging batch may is whole, and the trial goes on."""
    store = SlowStore(tmp_path / "store", ".backup", seconds=4.5)
    options = {"n_trials": 1, "artifact_store": store}
    log = tmp_path / "log"
    fit = {"epochs": 8, "batch_size": 8, "callbacks": [EpochLog(log), interrupt_at(5)]}
    with pytest.raises(KeyboardInterrupt):
        search(fit=fit, **options)
    tuner = search(tuner=make_tuner(**options), fit=fit)
    again = [int(what) for number, what, *_ in logged(log) if number == 1 and what.isdigit()]
    assert again == [6, 7]
    assert sorted(tuner.best_trial.intermediate_values) == list(range(8))
    _, err = capfd.readouterr()
    assert "Waiting for the running trials to be saved; a second Ctrl-C ends" in err
    assert "lost or damaged" not in err


@pytest.mark.slow
def test_an_interrupt_waits_for_the_weights_of_a_trial_that_ended(
    search, make_tuner, tmp_path, hasty
):
    """Ctrl-C in the last epoch costs no trial, however long it takes to keep its weights."""
    store = SlowStore(tmp_path / "store", "of no name", seconds=4.5)
    slow = keras.callbacks.LambdaCallback(on_train_end=lambda logs: setattr(store, "kind", ""))
    fit = {"epochs": 3, "batch_size": 8, "callbacks": [interrupt_at(2), slow]}
    with pytest.raises(KeyboardInterrupt):
        search(fit=fit, n_trials=1, artifact_store=store)
    assert [trial.state.name for trial in make_tuner().study.trials] == ["COMPLETE"]


@pytest.mark.slow
def test_a_second_interrupt_ends_a_backup_at_once(search, tmp_path):
    """Who presses Ctrl-C again does not want to wait."""
    second = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
    store = SlowStore(tmp_path / "store", ".backup", second, seconds=600)
    fit = {"epochs": 3, "batch_size": 8, "callbacks": [interrupt_at(1)]}
    with pytest.raises(KeyboardInterrupt):
        search(n_trials=1, fit=fit, artifact_store=store)
    assert list((tmp_path / "store").iterdir()) == []  # as a whole wait would have left it


def _interrupt_soon(folder):
    """Interrupt once two workers have trained so many epochs that the next ones seem short."""

    def are_underway():
        lines = Counter(pid for _, _, pid, _ in logged(folder / "log"))
        return sum(n > 5 for n in lines.values()) == 2

    wait_until(are_underway)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_an_interrupt_waits_for_the_backups_of_workers(search, make_tuner, tmp_path, hasty):
    """They are not killed while they save, however long after they were told to end."""
    interrupting = threading.Thread(target=_interrupt_soon, args=(tmp_path,))
    interrupting.start()
    store = SlowStore(tmp_path / "store", ".backup", seconds=4.5)
    options = {"n_trials": 2, "artifact_store": store, "storage": None}
    slow = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: time.sleep(0.1))
    fit = {"n_workers": 2, "epochs": 1000, "callbacks": [EpochLog(tmp_path / "log"), slow]}
    with pytest.raises(KeyboardInterrupt):
        search(fit=fit, **options)
    interrupting.join()
    tuner = make_tuner(**options)
    stopped = trials_of(tuner)[:2]
    assert [trial.user_attrs["stop_reason"] for trial in stopped] == [INTERRUPTED] * 2
    whole = {TrialRecord(trial).backup["id"] for trial in stopped}
    assert whole == set(kept(tuner, tmp_path / "store"))
