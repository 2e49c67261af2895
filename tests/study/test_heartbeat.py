"""Who is alive is told by beats, and by what can be seen of a process."""

import itertools
import sqlite3
import sys
import threading
import time

import keras
import optuna
import pytest

from kerastune_optuna import _signals
from kerastune_optuna._search import Budget
from kerastune_optuna._storage.patience import WORKER
from kerastune_optuna._study import heartbeat
from kerastune_optuna._study.heartbeat import Watch
from kerastune_optuna._study.liveness import machine
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import DIED
from tests.support import forks
from tests.support.faults import ROOT, Clock, finished, states, wait_until
from tests.support.untrained import build, run, tuner_in

DEAD = f"{machine()}:1:1"  # the signature of a process that is gone: process 1 is older than that
NODE3 = "node3-0123456789ab:4711:5"  # and of one that cannot be seen from here


@pytest.mark.slow
def test_a_trial_of_a_vanished_machine_is_run_again(tmp_path, monkeypatch, pace):
    """A search names whom it waits for, and runs a trial again whose lease has lapsed."""
    monkeypatch.setattr(heartbeat, "time", clock := Clock())
    monkeypatch.setattr(_signals, "tell", (told := []).append)
    pace(poll=0.1)
    tuner = tuner_in(tmp_path, n_trials=3, pruner="none", keep_best=0)
    vanished, alive = tuner.study.ask(), tuner.study.ask()
    for trial in (vanished, alive):
        build(trial)
        trial.set_user_attr(WORKER, NODE3)

    def beat():
        for beats in itertools.takewhile(lambda beats: not told, itertools.count(1)):
            clock.sleep(20)  # of the 90 of a lease
            tuner.study._storage.set_trial_system_attr(alive._trial_id, TrialRecord.beat, beats)
            time.sleep(0.1)
        tuner.study.tell(alive, [0.0, 0.0])

    beating = threading.Thread(target=beat)
    beating.start()
    run(tuner)
    beating.join()
    assert told[0].startswith("2 of 3 trials done; trial 1 runs in process 4711 on node3. Waiting")
    trials = tuner.study.trials
    assert trials[0].user_attrs["stop_reason"] == DIED
    assert trials[1].values == [0.0, 0.0], "the search waited for it"
    again = [trial for trial in trials if TrialRecord(trial).retry_of == 0]
    assert [trial.params for trial in again] == [trials[0].params]
    assert len(finished(tuner)) == 3


def test_a_process_beats_for_its_trial(tmp_path, pace):
    """A running trial counts up, so that other machines see that it is alive."""
    pace(beat=0.05)
    tuner = tuner_in(tmp_path, n_trials=1)

    def wait_for_two(epoch, logs):
        wait_until(lambda: (TrialRecord(tuner.study.trials[0]).beat or 0) > 1)

    slow = keras.callbacks.LambdaCallback(on_epoch_end=wait_for_two)
    run(tuner, epochs=1, callbacks=[lambda trial: slow])
    assert states(tuner) == ["COMPLETE"]


def test_a_trial_that_was_taken_for_dead_is_left_alone(tmp_path):
    """Who comes back from a long sleep finds the trial failed, drops it and goes on."""
    tuner = tuner_in(tmp_path, n_trials=1, pruner="none", keep_best=0)

    def fail(epoch, logs):
        study, first = tuner.study, tuner.study.trials[0]
        if not first.state.is_finished():
            study._storage.set_trial_state_values(first._trial_id, optuna.trial.TrialState.FAIL)

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=fail)
    run(tuner, callbacks=[lambda trial: callback])
    assert states(tuner) == ["FAIL", "COMPLETE"]


@pytest.mark.parametrize("beat", [0.02, 60], ids=["at a beat", "at its end"])
@pytest.mark.parametrize("by", [NODE3, None], ids=["another took it", "the server lost the taking"])
def test_who_finds_another_signature_gives_the_run_up(tmp_path, pace, beat, by):
    """After an outage, a server may have given a trial to two: whose name it bears runs it."""
    pace(beat=beat, lease=0.3, poll=0.05, look=0.05)
    tuner, epochs = tuner_in(tmp_path, n_trials=1, pruner="none", keep_best=0), []

    def lose(epoch, logs):
        epochs.append(epoch)
        if len(epochs) != 2:
            return
        if by is not None:
            tuner.study._storage.set_trial_user_attr(1, WORKER, by)
        else:
            with sqlite3.connect(tmp_path / "study.db") as connection:
                connection.execute("UPDATE trials SET state = 'WAITING'")
                connection.execute("DELETE FROM trial_user_attributes WHERE key = 'worker'")
        time.sleep(min(10 * beat, 0.5))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=lose)
    run(tuner, callbacks=[lambda trial: callback])
    lost = [0, 1] if beat < 1 else [0, 1, 2, 3, 4]
    assert epochs == [*lost, 0, 1, 2, 3, 4]
    assert states(tuner) == ["FAIL", "COMPLETE"][by is None :]


@pytest.mark.parametrize("error", [TypeError, KeyboardInterrupt])
def test_who_lost_its_trial_ends_nobody_elses(tmp_path, error):
    """A run that fails or is interrupted leaves a trial alone that another signed meanwhile."""

    def lose(trial):
        trial.set_user_attr(WORKER, NODE3)
        raise error

    tuner = tuner_in(tmp_path, lose, n_trials=1)
    with pytest.raises(error):
        run(tuner)
    assert states(tuner) == ["RUNNING"]
    assert "stop_reason" not in tuner.study.trials[0].user_attrs


REAPER = """
import multiprocessing, sys
import optuna
from kerastune_optuna._storage.database import connect
from kerastune_optuna._search import Budget
from kerastune_optuna._study.heartbeat import Watch
optuna.logging.set_verbosity(optuna.logging.ERROR)
fork = multiprocessing.get_context("fork")  # of what was imported and not used yet
together = fork.Barrier(4)
def reap(_):
    study = optuna.load_study(study_name="test", storage=connect(sys.argv[1], 60))
    together.wait()
    Budget(100).reap(study, Watch())
with fork.Pool(4) as reapers:
    reapers.map(reap, range(4), 1)
"""


@pytest.mark.slow
def test_processes_that_reap_at_once_keep_each_retry(tmp_path):
    """Four processes find twelve dead trials at once: each is laid out again, and just once."""
    tuner = tuner_in(tmp_path)
    for _ in range(12):
        trial = tuner.study.ask()
        build(trial)
        trial.set_user_attr(WORKER, DEAD)
    command = [sys.executable, "-c", REAPER, f"sqlite:///{tmp_path}/study.db"]
    forks.run(command, cwd=ROOT, check=True)
    trials = tuner.study.trials
    assert [trial.user_attrs["stop_reason"] for trial in trials[:12]] == [DIED] * 12
    waiting = [trial for trial in trials if trial.state.name == "WAITING"]
    assert sorted(TrialRecord(trial).retry_of for trial in waiting) == list(range(12))
    params = [trials[TrialRecord(trial).retry_of].params for trial in waiting]
    assert [trial.system_attrs["fixed_params"] for trial in waiting] == params


def test_two_searches_in_one_process_leave_each_other_alone(tmp_path):
    """Two threads search one study: no trial of the other is taken for dead."""
    tuners = [tuner_in(tmp_path, n_trials=4, pruner="none", keep_best=0) for _ in range(2)]
    assert tuners[0].study.trials == []
    threads = [threading.Thread(target=run, args=(tuner,)) for tuner in tuners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states(tuners[0]) == ["COMPLETE"] * 4


def test_who_ends_its_trial_while_others_look_is_not_taken_for_dead():
    """A trial seen RUNNING, whose process told its end and was gone when looked for, has ended."""
    study = optuna.create_study()
    trial = study.ask()
    trial.set_user_attr(WORKER, DEAD)

    class Late(Watch):
        def running(self, study):
            seen = super().running(study)
            study.tell(trial, 1.0)
            return seen

    assert not Budget(9).reap(study, Late())
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"]


def test_a_study_in_memory_needs_no_heart(tmp_path, pace):
    """SQLite in memory, of which each thread would have its own, is left to one thread."""
    pace(beat=0.01)
    tuner = run(tuner_in(tmp_path, storage="sqlite://", n_trials=2, pruner="none"))
    assert len(finished(tuner)) == 2
    assert not any(TrialRecord(trial).beat is not None for trial in tuner.study.trials)
