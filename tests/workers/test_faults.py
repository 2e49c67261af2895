"""Nothing is lost: the process is killed, the database goes away, the disk fills, trials fail."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context

import keras
import numpy as np
import optuna
import psutil
import pytest
import sqlalchemy
from optuna.storages.journal import JournalFileBackend

from kerastune_optuna import (
    StorageError,
    TunerError,
    WeightsError,
    _signals,
)
from kerastune_optuna._search.slots import Budget
from kerastune_optuna._storage.artifacts import WholeFileStore
from kerastune_optuna._storage.database import connect
from kerastune_optuna._storage.patience import WORKER
from kerastune_optuna._study import heartbeat
from kerastune_optuna._study.heartbeat import Watch
from kerastune_optuna._study.liveness import machine
from kerastune_optuna._study.record import BACKUP, BEAT, RETRY_OF
from kerastune_optuna._study.retry import DIED, INTERRUPTED
from kerastune_optuna._trial import backup, stop
from kerastune_optuna._trial.archive import Archive
from kerastune_optuna._workers import processes as _launch
from tests.support import forks
from tests.support.faults import (
    ROOT,
    WATCHDOG,
    Clock,
    CuttingProxy,
    EpochLog,
    Killer,
    lock,
    logged,
    own_server,
    processes_in,
    run_to_the_end,
    small_disk,
    wait_until,
)
from tests.support.hosts import needs_root
from tests.support.models import build_model, history, kept
from tests.support.servers import database


def finished(tuner):
    """Return the trials that count."""
    return [trial for trial in tuner.study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def evaluated(model, data):
    """Return the accuracy of a model on the validation data."""
    return model.evaluate(*data[2], verbose=0, return_dict=True)["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "kills", "size"),
    [(None, 5, 12), ("postgresql", 3, 8)],
    ids=["sqlite", "postgresql"],
)
def test_kills_cost_no_trial(search, data, tmp_path, server, kills, size):
    """Four workers are killed at random moments: all trials end, none runs to its end twice."""
    log = tmp_path / "log"
    killed = tmp_path / "killed"
    killer = Killer(kills, log, killed)
    killer.start()

    def last_until_then(epoch, logs):
        time.sleep(0 if killed.exists() else 0.3)

    slow = keras.callbacks.LambdaCallback(on_epoch_end=last_until_then)

    def run(url):
        tuner = search(
            n_trials=size,
            storage=url,
            max_failed_trials=40,
            backup_every=0.2,
            fit={
                "n_workers": 4,
                "epochs": 6,
                "callbacks": [EpochLog(log), lambda trial: slow],
            },
        )
        assert len(killer.killed) == kills
        assert len(finished(tuner)) == size
        assert set(run_to_the_end(log).values()) == {1}
        assert evaluated(tuner.best_model(), data) == pytest.approx(tuner.best_value, abs=1e-6)
        assert all(len(trial.intermediate_values) == 6 for trial in finished(tuner))
        assert len(kept(tuner)) == 1, "one trial's weights and no backup are left"

    try:
        if server is None:
            run(None)
        else:
            with database(server) as url:
                run(url)
    finally:
        killer.over.set()


def kill_at(epoch):
    """Return a factory of callbacks that kill the process of a trial that is no retry."""

    def make(trial):
        def kill(now, logs):
            if now == epoch and RETRY_OF not in trial.user_attrs:
                os.kill(os.getpid(), signal.SIGKILL)

        return keras.callbacks.LambdaCallback(on_epoch_begin=kill)

    return make


def unbuilt_builder(trial):
    """Return a classifier that Keras builds when it sees data, and that gets worse by training."""
    model = keras.Sequential(
        [
            keras.layers.Dense(trial.suggest_int("units", 2, 8), activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    rate = -trial.suggest_float("lr", 1e-3, 1e-2)
    model.compile(keras.optimizers.SGD(rate, momentum=0.5), "sparse_categorical_crossentropy")
    return model


@pytest.mark.slow
@pytest.mark.parametrize("build", [build_model, unbuilt_builder])
def test_a_killed_trial_goes_on_from_its_backup(search, data, tmp_path, build):
    """Of 20 epochs 15 are done when the process is killed; the curve is one line of 20 reports."""
    log = tmp_path / "log"
    tuner = search(
        build,
        "val_loss",
        n_trials=1,
        backup_every=0,
        fit={"n_workers": 2, "epochs": 20, "callbacks": [EpochLog(log), kill_at(15)]},
    )
    died, retried = tuner.study.trials
    epochs = {
        n: [int(what) for number, what, *_ in logged(log) if number == n and what.isdigit()]
        for n in (0, 1)
    }
    assert epochs[0] == list(range(15))
    assert len(epochs[1]) <= 6
    assert died.user_attrs["stop_reason"] == DIED
    assert retried.user_attrs[RETRY_OF] == 0
    assert retried.params == died.params
    assert retried.user_attrs["seed"] == died.user_attrs["seed"]
    assert sorted(retried.intermediate_values) == list(range(20))
    assert retried.user_attrs["epochs_run"] == 20
    assert [int(row["epoch"]) for row in history(tuner, 1)] == list(range(20))
    curve = {step: died.intermediate_values[step] for step in range(15)}
    assert {step: retried.intermediate_values[step] for step in range(15)} == curve
    assert retried.value == min(retried.intermediate_values.values())
    loss = tuner.best_model().evaluate(*data[2], verbose=0)
    loss = loss if isinstance(loss, float) else loss[0]
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_a_backup_that_does_not_fit_is_not_used(search, make_tuner, tmp_path):
    """A retry whose builder has changed starts anew, from weights that no backup has touched."""

    def build(trial, units=3):
        trial.suggest_float("lr", 0, 1)
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dense(3, "softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    interrupts = [True]

    def interrupt(epoch, logs):
        if epoch == 2 and interrupts:
            interrupts.clear()
            raise KeyboardInterrupt

    callback = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    fit = {"epochs": 4, "callbacks": [lambda trial: callback]}
    with pytest.raises(KeyboardInterrupt):
        search(build, n_trials=1, backup_every=0, fit=fit)
    with pytest.warns(UserWarning, match="code of build_model has changed"):
        tuner = search(
            tuner=make_tuner(lambda trial: build(trial, units=5), n_trials=1, backup_every=0),
            fit=fit,
        )
    assert [trial.state.name for trial in tuner.study.trials] == ["FAIL", "COMPLETE"]
    assert tuner.results()["stop_reason"][0] == INTERRUPTED
    assert sorted(tuner.study.trials[1].intermediate_values) == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_configuration_that_kills_is_given_up(search, tmp_path):
    """A trial of which three workers died is not run a fourth time, and another takes its place."""

    def build(trial):
        model = build_model(trial)
        if trial.number == 0 or RETRY_OF in trial.user_attrs:
            os.kill(os.getpid(), signal.SIGKILL)
        return model

    tuner = search(build, n_trials=2, max_failed_trials=20, fit={"n_workers": 2, "epochs": 1})
    reasons = tuner.results()["stop_reason"]
    assert list(reasons[reasons.str.contains("died")]) == [DIED, DIED, "its worker died 3 times"]
    assert len(finished(tuner)) == 2


@pytest.mark.slow
def test_a_trial_of_a_vanished_machine_is_run_again(search, make_tuner, monkeypatch):
    """A trial whose lease has lapsed is run again with its parameters; one that beats ends."""
    monkeypatch.setattr(heartbeat, "time", clock := Clock())
    monkeypatch.setattr("kerastune_optuna._search.slots._POLL_OTHERS", 0.1)
    tuner = make_tuner(n_trials=3)
    vanished, alive = tuner.study.ask(), tuner.study.ask()
    for trial in (vanished, alive):
        build_model(trial)
        trial.set_user_attr(WORKER, "elsewhere-1:1:1")

    def beat():
        beats = 0
        while len(finished(tuner)) < 2:
            time.sleep(0.1)
            beats += 1
            clock.now += heartbeat._LEASE_SECONDS / 4
            tuner.study._storage.set_trial_system_attr(alive._trial_id, BEAT, beats)
        tuner.study.tell(alive, 0.0)

    beating = threading.Thread(target=beat)
    beating.start()
    search(tuner=tuner)
    trials = tuner.study.trials
    beating.join()
    assert trials[0].user_attrs["stop_reason"] == DIED
    assert trials[1].values == [0.0], "the search waited for it"
    again = [trial for trial in trials if trial.user_attrs.get(RETRY_OF) == 0]
    assert [trial.params for trial in again] == [trials[0].params]
    assert len(finished(tuner)) == 3


def test_a_process_beats_for_its_trial(search, make_tuner, monkeypatch):
    """A running trial counts up, so that other machines see that it is alive."""
    monkeypatch.setattr(heartbeat, "_BEAT_SECONDS", 0.05)
    tuner, beats = make_tuner(n_trials=1), []

    def wait_for_two(epoch, logs):
        seen = wait_until(lambda: tuner.study.trials[0].system_attrs.get(BEAT))
        wait_until(lambda: tuner.study.trials[0].system_attrs[BEAT] > seen)
        beats.append(seen)

    slow = keras.callbacks.LambdaCallback(on_epoch_end=wait_for_two)
    search(tuner=tuner, fit={"epochs": 1, "callbacks": [lambda trial: slow]})
    assert len(beats) == 1


@pytest.mark.slow
def test_a_trial_that_was_taken_for_dead_is_left_alone(search, make_tuner):
    """Who comes back from a long sleep finds the trial failed, drops it and goes on."""
    tuner = make_tuner(storage="sqlite://")

    def fail(epoch, logs):
        study, first = tuner.study, tuner.study.trials[0]
        if not first.state.is_finished():
            study._storage.set_trial_state_values(first._trial_id, optuna.trial.TrialState.FAIL)

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=fail)
    search(tuner=tuner, fit={"callbacks": [lambda trial: callback]})
    assert [trial.state.name for trial in tuner.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]


REAPER = """
import multiprocessing, sys
import optuna
from kerastune_optuna._storage.database import connect
from kerastune_optuna._search.slots import Budget
from kerastune_optuna._study.heartbeat import Watch
optuna.logging.set_verbosity(optuna.logging.ERROR)
fork = multiprocessing.get_context("fork")  # of what was imported and not used yet
together = fork.Barrier(4)
def reap():
    study = optuna.load_study(study_name="test", storage=connect(sys.argv[1], 60))
    together.wait()
    Budget(100, None, 10).reap(study, Watch())
reapers = [fork.Process(target=reap) for _ in range(4)]
for reaper in reapers:
    reaper.start()
for reaper in reapers:
    reaper.join()
sys.exit(sum(reaper.exitcode != 0 for reaper in reapers))
"""


@pytest.mark.slow
def test_processes_that_reap_at_once_keep_each_retry(make_tuner, tmp_path):
    """Four processes find twelve dead trials at once: each is laid out again, and just once."""
    tuner = make_tuner()
    for _ in range(12):
        trial = tuner.study.ask()
        build_model(trial)
        trial.set_user_attr(WORKER, f"{machine()}:1:1")  # process 1 is older than that
    command = [sys.executable, "-c", REAPER, f"sqlite:///{tmp_path}/tuning/study.db"]
    forks.run(command, cwd=ROOT, check=True)
    trials = tuner.study.trials
    assert [trial.user_attrs["stop_reason"] for trial in trials[:12]] == [DIED] * 12
    waiting = [trial for trial in trials if trial.state.name == "WAITING"]
    assert sorted(trial.user_attrs[RETRY_OF] for trial in waiting) == list(range(12))
    assert all(
        trial.system_attrs["fixed_params"] == trials[trial.user_attrs[RETRY_OF]].params
        for trial in waiting
    )


@pytest.mark.slow
def test_a_point_of_a_grid_is_not_lost(search, make_tuner):
    """A grid of two points whose first trial was interrupted is visited whole."""
    interrupts = [True]

    def build(trial):
        model = build_model(trial)
        if interrupts:
            interrupts.clear()
            raise KeyboardInterrupt
        return model

    def grid():
        return optuna.samplers.GridSampler({"units": [2, 3], "lr": [0.01]})

    with pytest.raises(KeyboardInterrupt):
        search(build, n_trials=None, sampler=grid())
    tuner = search(tuner=make_tuner(build, n_trials=None, sampler=grid()))
    assert sorted(trial.params["units"] for trial in finished(tuner)) == [2, 3]


@pytest.mark.slow
def test_two_searches_in_one_process_leave_each_other_alone(make_tuner, data):
    """Two threads search one study: no trial of the other is taken for dead."""
    x, y, validation = data
    tuners = [make_tuner(n_trials=6) for _ in range(2)]
    assert tuners[0].study.trials == []

    def search(tuner):
        tuner.search(x, y, validation_data=validation, epochs=2, verbose=0)

    threads = [threading.Thread(target=search, args=(tuner,)) for tuner in tuners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [trial.state.name for trial in tuners[0].study.trials] == ["COMPLETE"] * 6


def test_who_ends_its_trial_while_others_look_is_not_taken_for_dead(make_tuner):
    """A trial seen RUNNING, whose process told its end and was gone when looked for, has ended."""
    study = make_tuner(storage="sqlite://").study
    trial = study.ask()
    trial.set_user_attr(WORKER, f"{machine()}:1:1")  # process 1 is older than that

    class Late(Watch):
        def unfinished(self, study):
            seen = super().unfinished(study)
            study.tell(trial, 1.0)
            return seen

    assert not Budget(9, None, 10).reap(study, Late())
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"]


@pytest.mark.slow
def test_a_study_in_memory_needs_no_heart(search, monkeypatch):
    """SQLite in memory, of which each thread would have its own, is left to one thread."""
    monkeypatch.setattr(heartbeat, "_BEAT_SECONDS", 0.01)
    tuner = search(storage="sqlite://", n_trials=3)
    assert len(finished(tuner)) == 3


@needs_root
def test_a_journal_survives_a_full_disk(tmp_path):
    """A line that does not fit is not left half: the journal can be read and written afterwards."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        backend = JournalFileBackend(str(disk / "journal.log"))
        storage = connect(optuna.storages.JournalStorage(backend))
        study = optuna.create_study(storage=storage, study_name="test")

        def fill():
            while True:
                study.ask().set_user_attr("long", "x" * 100_000)

        with pytest.raises(StorageError, match=r"did not answer for \d s"):
            fill()
        written = len(study.trials)
        whole = (disk / "journal.log").read_bytes()
        assert whole.endswith(b"\n")
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        study.ask().set_user_attr("short", "x")
        again = optuna.storages.JournalStorage(JournalFileBackend(str(disk / "journal.log")))
        assert len(optuna.load_study(study_name="test", storage=again).trials) >= written


@pytest.mark.slow
def test_a_backup_that_fails_changes_no_result(search, tmp_path):
    """Backups that cannot be written end the search with a line, after a trial as without them."""

    class FullStore(WholeFileStore):
        def write(self, artifact_id, content_body):
            if artifact_id.endswith(".backup"):
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(artifact_id, content_body)

    plain = search(n_trials=1, fit={"epochs": 5})
    options = {"study_name": "full", "artifact_store": FullStore(tmp_path), "backup_every": 0}
    with pytest.raises(WeightsError, match=r"Trial 0 could not be backed up: OSError: .*MB are ne"):
        search(n_trials=1, fit={"epochs": 5}, **options)
    study = optuna.load_study(study_name="full", storage=plain.study._storage)
    assert study.trials[0].value == plain.best_value
    assert study.trials[0].intermediate_values == plain.best_trial.intermediate_values


SCRIPT = """
import sys
import numpy as np
from kerastune_optuna import OptunaTuner, _signals
from kerastune_optuna._workers import processes
from pathlib import Path
import time
import keras
from tests.support.models import build_model
from tests.support.faults import EpochLog, processes_in, wait_until
_signals._GRACE = processes._PATIENCE = 60  # a busy machine needs more than five seconds to end
def meet(epoch, logs):
    if epoch == 1:  # one worker could run all trials before the other is there
        wait_until(lambda: len(processes_in(directory + "/log")) >= n_workers)
def slow(batch, logs):
    if Path(directory, "slow").exists():
        time.sleep(0.4)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(480, 4)), rng.integers(0, 3, 480)
directory, n_workers, storage = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tuner = OptunaTuner(
    build_model, n_trials=int(sys.argv[4]), directory=directory, study_name="test",
    storage=storage or None,
)
tuner.search(
    x[:48], y[:48], validation_data=(x, y), epochs=4, n_workers=n_workers, verbose=2,
    callbacks=[
        EpochLog(directory + "/log"),
        lambda trial: keras.callbacks.LambdaCallback(
            on_epoch_begin=meet, on_train_batch_end=slow
        ),
    ],
)
print(len(tuner.study.trials), "in all")
tuner.best_model()
"""


def start(directory, n_workers, n_trials):
    """Start the script as a shell would, in a process group of its own."""
    return forks.start(
        [sys.executable, "-c", SCRIPT, str(directory), str(n_workers), "", str(n_trials)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_epochs(directory, workers=1):
    """Wait until that many processes have trained an epoch."""
    wait_until(lambda: len(processes_in(directory / "log")) >= workers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_workers", "sent", "code", "n_trials"),
    [
        (1, signal.SIGINT, -2, 4),
        (1, signal.SIGHUP, 129, 4),
        (2, signal.SIGINT, -2, 6),
        (2, signal.SIGTERM, 143, 6),
        (2, signal.SIGHUP, 129, 6),
    ],
    ids=["ctrl-c", "hangup", "ctrl-c-of-two", "sigterm-of-two", "hangup-of-two"],
)
def test_an_interrupted_search_is_resumed(
    search, make_tuner, tmp_path, capsys, n_workers, sent, code, n_trials
):
    """The first signal ends the search, says how to go on, and loses nothing."""
    directory = tmp_path / "tuning"
    directory.mkdir()
    (directory / "slow").touch()
    interrupted = start(directory, n_workers, n_trials)
    wait_for_epochs(directory, n_workers)
    processes = psutil.Process(interrupted.pid).children(recursive=True)
    os.killpg(interrupted.pid, sent)
    _, err = interrupted.communicate(timeout=WATCHDOG)
    assert interrupted.returncode == code, err
    assert "Call it with the same arguments to go on with study 'test'" in err
    _, alive = psutil.wait_procs(processes, timeout=WATCHDOG)
    assert alive == []
    tuner = make_tuner(n_trials=n_trials)
    states = [trial.state.name for trial in tuner.study.trials]
    assert "RUNNING" not in states
    stopped = [trial for trial in tuner.study.trials if trial.state.name == "FAIL"]
    assert {trial.user_attrs["stop_reason"] for trial in stopped} == {"interrupted"}
    cut_off = [trial.params for trial in stopped]
    search(tuner=tuner, fit={"epochs": 4, "verbose": 2})
    assert "Going on with study 'test'" in capsys.readouterr().out
    assert len(finished(tuner)) == n_trials
    again = [trial.params for trial in finished(tuner) if RETRY_OF in trial.user_attrs]
    assert all(params in again for params in cut_off)


class _InterruptAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.at = epoch
        self.epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (self.at, 1):
            signal.raise_signal(signal.SIGINT)


def interrupt_at(epoch):
    """Return a factory of callbacks that interrupt a trial which is no retry in mid-epoch."""
    return lambda trial: _InterruptAt(None if RETRY_OF in trial.user_attrs else epoch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("soon", "goes_on"), [(60, 13), (0, 12)], ids=["short-epochs", "long-epochs"]
)
def test_an_interrupt_loses_no_epoch(
    search, make_tuner, data, tmp_path, monkeypatch, soon, goes_on
):
    """A trial goes on where Ctrl-C ended it: after the epoch that ran, or with it if it lasts."""
    for module in (stop, backup):
        monkeypatch.setattr(module, "SOON", soon)
    monkeypatch.setattr(backup, "_SHARE", math.inf)
    log = tmp_path / "log"
    fit = {"epochs": 20, "batch_size": 8, "callbacks": [EpochLog(log), interrupt_at(12)]}
    with pytest.raises(KeyboardInterrupt):
        search(n_trials=1, fit=fit)
    tuner = search(tuner=make_tuner(n_trials=1), fit=fit)
    interrupted, resumed = tuner.study.trials
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
def test_an_interrupt_in_the_last_epoch_costs_no_trial(search, make_tuner):
    """A trial whose training ends with the epoch that is waited for is COMPLETE."""
    fit = {"epochs": 3, "batch_size": 8, "callbacks": [interrupt_at(2)]}
    with pytest.raises(KeyboardInterrupt):
        search(n_trials=2, fit=fit)
    assert [trial.state.name for trial in make_tuner().study.trials][:1] == ["COMPLETE"]


class SlowStore(WholeFileStore):
    """Take as long as a large model would for what is saved at an interrupt.

    Args:
        base_path: The folder.
        kind: How the names end of what takes long.
        begun: Called before that.
        seconds: How long.
    """

    def __init__(self, base_path, kind, begun=lambda: None, seconds=1.5):
        super().__init__(base_path)
        self.kind, self.begun, self.seconds = kind, begun, seconds

    def write(self, artifact_id, content_body):
        """Write late."""
        if artifact_id.endswith(self.kind):
            self.begun()
            time.sleep(self.seconds)
        super().write(artifact_id, content_body)


@pytest.mark.slow
def test_an_interrupt_waits_for_its_backup(search, make_tuner, tmp_path, capfd, monkeypatch):
    """A backup that takes longer than a hanging batch may is whole, and the trial goes on."""
    monkeypatch.setattr(_signals, "_GRACE", 3)  # a busy machine needs more than one to clean up
    options = {
        "n_trials": 1,
        "artifact_store": SlowStore(tmp_path / "store", ".backup", seconds=4.5),
    }
    log = tmp_path / "log"
    fit = {"epochs": 8, "batch_size": 8, "callbacks": [EpochLog(log), interrupt_at(5)]}
    with pytest.raises(KeyboardInterrupt):
        search(fit=fit, **options)
    tuner = search(tuner=make_tuner(**options), fit=fit)
    again = [int(what) for number, what, *_ in logged(log) if number == 1 and what.isdigit()]
    assert again == [6, 7]
    assert sorted(tuner.best_trial.intermediate_values) == list(range(8))
    _, err = capfd.readouterr()
    assert "Waiting until what was trained is saved; a second Ctrl-C ends it" in err
    assert "lost or damaged" not in err


@pytest.mark.slow
def test_an_interrupt_waits_for_the_weights_of_a_trial_that_ended(
    search, make_tuner, tmp_path, monkeypatch
):
    """Ctrl-C in the last epoch costs no trial, however long it takes to keep its weights."""
    monkeypatch.setattr(_signals, "_GRACE", 3)  # a busy machine needs more than one to clean up
    options = {"n_trials": 1, "artifact_store": SlowStore(tmp_path / "store", "", seconds=4.5)}
    with pytest.raises(KeyboardInterrupt):
        search(fit={"epochs": 3, "batch_size": 8, "callbacks": [interrupt_at(2)]}, **options)
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


@pytest.mark.slow
def test_an_interrupt_waits_for_the_backups_of_workers(search, make_tuner, tmp_path, monkeypatch):
    """They are not killed while they save, however long after they were told to end."""
    monkeypatch.setattr(_signals, "_GRACE", 3)
    monkeypatch.setattr(_launch, "_PATIENCE", 3)
    interrupting = threading.Thread(target=_interrupt_soon, args=(tmp_path,))
    interrupting.start()
    store = SlowStore(tmp_path / "store", ".backup", seconds=4.5)
    options = {"n_trials": 2, "artifact_store": store}
    slow = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: time.sleep(0.1))
    fit = {"n_workers": 2, "epochs": 1000, "callbacks": [EpochLog(tmp_path / "log"), slow]}
    with pytest.raises(KeyboardInterrupt):
        search(fit=fit, **options)
    interrupting.join()
    tuner = make_tuner(**options)
    stopped = tuner.study.trials[:2]
    assert [trial.user_attrs["stop_reason"] for trial in stopped] == [INTERRUPTED] * 2
    whole = {trial.system_attrs[BACKUP]["id"] for trial in stopped}
    assert whole == set(kept(tuner, tmp_path / "store"))


def _interrupt_soon(folder):
    wait_for_epochs(folder, 2)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_the_first_epoch_is_backed_up_only_where_that_is_cheap(search, tmp_path, monkeypatch):
    """What only an interrupt would use is not written before its model's size allows that."""
    monkeypatch.setattr(backup, "SOON", 0)
    monkeypatch.setattr(backup, "_SPEED", 1)  # as if the model were large
    prepared = []
    prepare = Archive.prepare
    monkeypatch.setattr(
        Archive, "prepare", lambda self, write: (prepared.append(1), prepare(self, write))
    )
    search(n_trials=1, fit={"epochs": 2})
    assert not prepared


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_interrupted_script_shows_its_own_line(tmp_path, n_workers):
    """Ctrl-C prints how to go on, and of the traceback what is the user's."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "slow").touch()
    interrupted = forks.start(
        [sys.executable, str(script), str(tmp_path), str(n_workers), "", "6"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_epochs(tmp_path, n_workers)
    interrupted.send_signal(signal.SIGINT)
    _, err = interrupted.communicate(timeout=WATCHDOG)
    assert interrupted.returncode == -signal.SIGINT, err
    lines = err[err.index("search() was stopped") :].splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[2].startswith(f'  File "{script}", line ')
    assert "tuner.search(" in lines[3]
    assert lines[4:] == ["KeyboardInterrupt"]


def process_pool():
    """Return an executor of this machine."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


@contextmanager
def dask_cluster():
    """Give the executor of a Dask cluster."""
    from dask.distributed import Client, LocalCluster

    local = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with local as cluster, Client(cluster) as client:
        yield client.get_executor(pure=False)


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [process_pool, dask_cluster])
def test_the_tasks_of_an_executor_are_told_to_stop(search, make_tuner, tmp_path, cluster):
    """Ctrl-C ends the task of a search in an executor, and the next search resumes its trial."""

    def interrupt():
        wait_for_epochs(tmp_path)
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    fit = {"n_workers": 1, "epochs": 100_000, "callbacks": [EpochLog(tmp_path / "log")]}
    with cluster() as executor:
        with pytest.raises(KeyboardInterrupt):
            search(n_trials=None, fit={"executor": executor, **fit})
        interrupting.join()
        # The only process of the executor takes this once the search's task has ended.
        executor.submit(os.getpid).result(timeout=WATCHDOG)
    interrupted, again = make_tuner().study.trials
    assert interrupted.user_attrs["stop_reason"] == INTERRUPTED
    assert (again.state.name, again.user_attrs[RETRY_OF]) == ("WAITING", 0)


STUBBORN = """
import sys, time
import keras
import numpy as np
from kerastune_optuna import OptunaTuner, _signals
from tests.support.models import build_model
_signals._GRACE = float(sys.argv[2])
class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("slow", flush=True)
        while not _signals.requested():
            time.sleep(0.05)
        print("asked", flush=True)
        time.sleep(3600)
x, y = np.zeros((48, 4)), np.zeros(48)
tuner = OptunaTuner(build_model, directory=sys.argv[1])
tuner.search(x, y, validation_data=(x, y), callbacks=[Slow()], verbose=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "grace"), [(1, 2), (2, 600)])
def test_a_batch_that_lasts_is_interrupted(tmp_path, signals, grace):
    """A second Ctrl-C ends a batch that hangs at once; without one the first ends it in time."""
    search = forks.start(
        [sys.executable, "-c", STUBBORN, str(tmp_path), str(grace)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert search.stdout.readline() == "slow\n"
    search.send_signal(signal.SIGINT)
    assert search.stdout.readline() == "asked\n"
    if signals == 2:
        search.send_signal(signal.SIGINT)
    _, err = search.communicate(timeout=WATCHDOG)
    assert search.returncode == -signal.SIGINT, err
    assert "search() was stopped. Call it with the same arguments" in err


@pytest.mark.slow
def test_a_server_that_restarts_fails_no_trial(search, tmp_path, capfd):
    """PostgreSQL is away for ten epochs: training goes on, every report arrives, no trial fails."""
    log = tmp_path / "log"
    begun, stopped = threading.Event(), threading.Event()
    meanwhile, said = [], []

    def wait_for_the_stop(epoch, logs):
        if epoch == 1:
            begun.set()
            assert stopped.wait(WATCHDOG)

    def is_told():
        said.append(capfd.readouterr().err)
        return "The storage does not answer" in "".join(said)

    def restart(server):
        begun.wait(WATCHDOG)
        server.stop()
        try:
            before = len(logged(log))
            stopped.set()
            wait_until(is_told)
            wait_until(lambda: len(logged(log)) >= before + 10)
            meanwhile.extend(logged(log)[before:])
        finally:
            server.start()

    with own_server() as server:
        restarting = threading.Thread(target=restart, args=(server,))
        restarting.start()
        waiting = keras.callbacks.LambdaCallback(on_epoch_begin=wait_for_the_stop)
        tuner = search(
            storage=server.url,
            n_trials=3,
            fit={"epochs": 20, "callbacks": [EpochLog(log), lambda trial: waiting]},
        )
        restarting.join()
        trials = tuner.study.trials
        tuner.study._storage.remove_session()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    assert all(sorted(trial.intermediate_values) == list(range(20)) for trial in trials)
    assert len(meanwhile) >= 10, "training went on"
    err = "".join(said) + capfd.readouterr().err
    assert "Error" not in err
    assert err.count("The storage does not answer") <= 3


@pytest.mark.slow
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_connections_that_are_cut_cost_no_trial(search, make_tuner, data, tmp_path, capfd, server):
    """Two workers lose 25 connections at random: all trials end, once, with unbroken curves."""
    log = tmp_path / "log"
    with database(server) as url, CuttingProxy(url) as proxy:
        tuner = make_tuner(n_trials=6, storage=proxy.url, backup_every=0)
        assert tuner.study.trials == []
        proxy.cut_at_random(25, chance=0.015)
        search(tuner=tuner, fit={"n_workers": 2, "epochs": 6, "callbacks": [EpochLog(log)]})
        assert proxy.cuts == 25
        trials = tuner.study.trials
        accuracy, best = evaluated(tuner.best_model(), data), tuner.best_value
        tuner.study._storage.remove_session()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert [sorted(trial.intermediate_values) for trial in trials] == [list(range(6))] * 6
    assert run_to_the_end(log) == dict.fromkeys(range(6), 1)
    assert accuracy == pytest.approx(best, abs=1e-6)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_locked_database_fails_no_trial(search, make_tuner, tmp_path, capfd):
    """The SQLite file is locked until the search says so: every trial and report is there."""
    tuner = make_tuner(n_trials=4)
    assert tuner.study.trials == []
    unlocking = []

    def unlock_when_told(locker):
        said = []
        with locker:
            try:
                wait_until(
                    lambda: said.append(capfd.readouterr().err) or "is locked" in "".join(said)
                )
            finally:
                locker.kill()

    def lock_once(epoch, logs):
        if epoch == 1 and not unlocking:
            locker = lock(tmp_path / "tuning" / "study.db", 2 * WATCHDOG)
            unlocking.append(threading.Thread(target=unlock_when_told, args=(locker,)))
            unlocking[0].start()

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=lock_once)
    search(tuner=tuner, fit={"epochs": 6, "callbacks": [lambda trial: callback]})
    unlocking[0].join()
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 4
    assert all(len(trial.intermediate_values) == 6 for trial in tuner.study.trials)


@pytest.mark.slow
def test_a_database_that_stays_away_ends_the_search(search, make_tuner, tmp_path, impatient):
    """When patience ends the search ends with one line, and the next one goes on."""
    tuner = make_tuner(n_trials=2)
    assert tuner.study.trials == []
    lockers = []

    def lock_once(epoch, logs):
        if not lockers:
            lockers.append(lock(tmp_path / "tuning" / "study.db", 300))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=lock_once)
    fit = {"callbacks": [lambda trial: callback]}
    with pytest.raises(StorageError, match=r"for [1-9] s: database is locked") as got:
        search(tuner=tuner, fit=fit)
    assert len(str(got.value).splitlines()) == 1
    lockers[0].kill()
    lockers[0].wait()
    lockers[0].stdout.close()
    search(tuner=tuner, fit=fit)
    assert [trial.state.name for trial in tuner.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]


def large_builder(trial):
    """Return a model whose weights take 1.9 MB."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(60_000, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    rate = trial.suggest_float("lr", 1e-5, 1e-4)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
    return model


@pytest.mark.slow
@needs_root
def test_a_full_disk_costs_no_result(search, make_tuner, data, tmp_path):
    """The disk fills while weights are written: the study keeps every result, older files stay."""
    with small_disk(tmp_path / "disk", "9m") as disk:
        options = {"directory": disk / "tuning", "keep_best": 30, "n_trials": 8}
        with pytest.raises(WeightsError, match=r"MB free and 1\.9 MB are needed") as got:
            search(large_builder, **options)
        assert str(disk) in str(got.value)
        assert len(str(got.value).splitlines()) == 1
        tuner = make_tuner(large_builder, **options)
        results = [trial.value for trial in tuner.study.trials if trial.value is not None]
        files = kept(tuner)
        assert len(results) == len(files) + 1 >= 3
        for number in range(len(files)):
            accuracy = evaluated(tuner.best_model(trial=number), data)
            assert accuracy == pytest.approx(tuner.study.trials[number].value, abs=1e-6)
        tuner.study._storage.remove_session()


@pytest.mark.slow
@needs_root
def test_a_database_on_a_full_disk_can_be_read(search, make_tuner, tmp_path, impatient):
    """Nothing at all can be written: the search ends with one line, and the study can be read."""

    def build(trial):
        if trial.number == 2:
            with open(disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
                while filler.write(b"x" * 4096):
                    pass
        return build_model(trial)

    with small_disk(tmp_path / "disk", "4m") as disk:
        options = {"directory": disk / "tuning", "n_trials": 30}
        with pytest.raises(TunerError) as got:
            search(build, **options)
        assert f"'{disk}/tuning' has 0.0 MB free" in str(got.value)
        assert len(str(got.value).splitlines()) == 1
        code = (
            "import optuna, sys; storage = f'sqlite:///{sys.argv[1]}/tuning/study.db';"
            "print(len(optuna.load_study(study_name='test', storage=storage).trials))"
        )
        command = [sys.executable, "-c", code, str(disk)]
        read = forks.run(command, capture_output=True, text=True, check=False)
        assert int(read.stdout) >= 3, read.stderr
        (disk / "filler").unlink()
        tuner = search(tuner=make_tuner(build, **{**options, "n_trials": 4}))
        assert len(finished(tuner)) == 4
        tuner.study._storage.remove_session()


def fails_for_half(trial):
    """Raise for half of all configurations."""
    model = build_model(trial)
    if trial.params["units"] % 2:
        raise RuntimeError("an odd number of units")
    return model


def nan_for_a_third(trial):
    """Return a model whose loss is NaN for a third of all configurations."""
    model = build_model(trial)
    if trial.params["units"] in (2, 5):
        model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    return model


def allocates_a_terabyte(trial):
    """Return a model that no machine holds for some configurations."""
    model = build_model(trial)
    if trial.params["units"] in (3, 6):
        return build_model(optuna.trial.FixedTrial({"units": 50_000_000_000, "lr": 0.01}))
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "objective"),
    [
        (fails_for_half, "val_accuracy"),
        (nan_for_a_third, "val_loss"),
        (allocates_a_terabyte, "val_accuracy"),
    ],
)
def test_bad_configurations_end_no_search(search, build, objective, capsys):
    """Configurations that fail cost their trials, each with a reason and a line, and no more."""
    fit = {"epochs": 1, "verbose": 2}
    tuner = search(build, objective, n_trials=12, max_failed_trials=10, fit=fit)
    assert len(finished(tuner)) == 12
    bad = [trial for trial in tuner.study.trials if trial.user_attrs["stop_reason"] != "all epochs"]
    assert bad, "some configurations were bad"
    lines = capsys.readouterr().out.splitlines()
    for trial in bad:
        line = next(line for line in lines if line.startswith(f"Trial {trial.number}: "))
        assert trial.user_attrs["stop_reason"] in line


@pytest.mark.slow
def test_what_failed_is_not_suggested_again(search):
    """Of three choices the one that fails is drawn once, however often the search goes on."""

    def build(trial):
        if trial.suggest_categorical("kind", ["bad", "good", "better"]) == "bad":
            raise RuntimeError("no such luck")
        trial.suggest_categorical("constant", [1])
        return build_model_without_choice()

    for sampler in (None, optuna.samplers.RandomSampler(seed=0)):
        name = type(sampler).__name__
        options = {"n_trials": 14, "sampler": sampler, "study_name": name, "train_repeats": True}
        tuner = search(build, **options, fit={"epochs": 1})
        kinds = [trial.params["kind"] for trial in tuner.study.trials]
        assert kinds.count("bad") == 1
        assert type(tuner.study.sampler).__name__ in ("TPESampler", name)


def build_model_without_choice():
    """Return the model of a fixed configuration."""
    return build_model(optuna.trial.FixedTrial({"units": 2, "lr": 0.01}))


def test_a_loss_that_is_nan_ends_its_trial(search):
    """The training ends with the epoch in which the loss is no longer finite."""
    seen = []

    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(epoch)
            if epoch == 3:
                weights = [np.full_like(weight, np.nan) for weight in self.model.get_weights()]
                self.model.set_weights(weights)

    tuner = search(n_trials=1, fit={"epochs": 10, "callbacks": [Spoil()]})
    trial = tuner.study.trials[0]
    assert trial.state.name == "PRUNED"
    assert trial.user_attrs["stop_reason"] == "diverged at epoch 4/10: the loss is nan"
    assert sorted(trial.intermediate_values) == [0, 1, 2, 3]


@pytest.mark.slow
def test_damaged_weights_are_noticed(search, data, tmp_path):
    """A file that has changed is refused, and the next best that is whole is named and loads."""
    tuner = search(n_trials=4, keep_best=4)
    best, second = (
        tuner.study.best_trial,
        sorted(tuner.study.trials, key=lambda trial: (-trial.value, trial.number))[1],
    )
    for file in (tmp_path / "tuning" / "test" / "weights").iterdir():
        meta = optuna.artifacts.get_all_artifact_meta(
            tuner.best_trial, storage=tuner.study._storage
        )
        if file.name in [one.artifact_id for one in meta if one.filename.endswith(".h5")]:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.write_bytes(content)
    expected = (
        f"The weights of trial {tuner.best_trial.number} are damaged: their checksum has changed. "
        f"The next best whose weights are whole is trial {second.number} "
        f"(val_accuracy {second.value:.6g}): best_model(trial={second.number})."
    )
    with pytest.raises(WeightsError) as got:
        tuner.best_model()
    assert str(got.value) == expected
    assert best.value == tuner.best_value
    accuracy = evaluated(tuner.best_model(trial=second.number), data)
    assert accuracy == pytest.approx(second.value, abs=1e-6)


@pytest.mark.slow
def test_the_password_is_nowhere(tmp_path):
    """No file, no output, no process list and no table holds the password of the database."""
    password = "s3cret-Pa55word"
    with database("postgresql") as url:
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        role = f"role_{os.getpid()}"
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'")
        try:
            given = sqlalchemy.make_url(url).set(username=role, password=password)
            given = given.render_as_string(hide_password=False)
            directory = tmp_path / "tuning"
            directory.mkdir()
            (directory / "slow").touch()
            script = SCRIPT.replace("sys.argv[3]", "sys.stdin.readline().strip()")
            search = subprocess.Popen(
                [sys.executable, "-c", script, str(directory), "2", "", "6"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            search.stdin.write(given + "\n")
            search.stdin.close()
            wait_for_epochs(directory, 2)
            processes = [search.pid, *processes_in(directory / "log")]
            shown = [
                " ".join(process.cmdline()) + str(process.environ())
                for process in map(psutil.Process, processes)
            ]
            with engine.connect() as connection:  # which costs the search its connections
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = "
                    f"'{role}'"
                )
            (directory / "slow").unlink()
            shown.append(search.stdout.read())
            search.stdout.close()
            assert search.wait() == 0, shown[-1]
            with engine.connect() as connection:
                tables = connection.exec_driver_sql(
                    "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
                ).scalars()
                for table in tables.all():
                    shown += map(str, connection.exec_driver_sql(f"SELECT * FROM {table}"))
        finally:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"REASSIGN OWNED BY {role} TO postgres")
                connection.exec_driver_sql(f"DROP OWNED BY {role}")
                connection.exec_driver_sql(f"DROP ROLE {role}")
            engine.dispose()
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(shown) > 10
    assert files
    assert not any(password in text for text in shown)
    assert not any(password.encode() in path.read_bytes() for path in files)
