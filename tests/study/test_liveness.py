"""Whose trial it is and who is alive, where clocks step and the database stays away."""

import itertools
import math
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from datetime import datetime, timedelta

import cloudpickle
import keras
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from kerastune_optuna import TooManyFailuresError, _signals
from kerastune_optuna._arguments import budget_of
from kerastune_optuna._search import Budget, StopConditions
from kerastune_optuna._study import liveness
from kerastune_optuna._study.liveness import Watch, machine, own_runs
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import DIED, INTERRUPTED, lay_out
from tests.support import forks
from tests.support.faults import ROOT, Clock, finished, lock, states, wait_until
from tests.support.hosts import Inline, needs_posix
from tests.support.untrained import build, run, tuner_in

ELSEWHERE = "elsewhere-1:1:1"
DEAD = f"{machine()}:1:1"  # the signature of a process that is gone: process 1 is older than that
NODE3 = "node3-0123456789ab:4711:5"  # and of one that cannot be seen from here

LOOK = """
import pickle, sys
import optuna
from kerastune_optuna._storage.database import connect
from kerastune_optuna._study.liveness import Watch
study = optuna.load_study(study_name="test", storage=connect(sys.argv[1], 60))
print([Watch().is_dead(trial) for trial in study.trials])
print(pickle.loads(bytes.fromhex(sys.argv[2])).conditions.is_over())
"""
AN_HOUR_AHEAD = ["faketime", "-f", "+1h"]
# What the kernel tells after the clock was set: the moment of the boot is reckoned from it.
SET_CLOCK = """
sed "s/^btime .*/btime $(($(sed -n 's/^btime //p' /proc/stat) + 3600))/" /proc/stat > "$0"
mount --bind "$0" /proc/stat
exec "$@"
"""


@pytest.fixture
def tuner(tmp_path):
    return tuner_in(tmp_path, n_trials=3)


def take(study, **attrs):
    """Set a new slot to RUNNING, and do not sign it."""
    trial_id = lay_out(study, system_attrs=attrs)
    assert study._storage.set_trial_state_values(trial_id, TrialState.RUNNING)


def said(*command):
    """Return what a process printed that knows of the real clock only how fast it goes."""
    is_root = sys.platform == "linux" and os.geteuid() == 0
    if shutil.which(command[0]) is None or (command[0] == "unshare" and not is_root):
        pytest.skip(f"{command[0]} is not installed, or needs root")
    faked = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    env = {**os.environ, **faked, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def look(tuner, tmp_path):
    budget = pickle.dumps(budget_of(tuner, 9, 600)).hex()
    return [sys.executable, "-c", LOOK, f"sqlite:///{tmp_path}/study.db", budget]


@pytest.fixture
def claim(tuner):
    """Give a function that claims a trial, which then runs here until the test ends."""

    def claim_one(watch):
        lay_out(tuner.study)
        return budget_of(tuner, 9, None).claim(tuner.study, watch)

    with own_runs.leaving_all():
        yield claim_one


def test_a_step_of_the_clock_takes_nobody_for_dead(tmp_path, claim, look):
    """A process that looks after the clock was set leaves the trial of one that began before."""
    claim(Watch())
    set_clock = ["unshare", "-m", "sh", "-c", SET_CLOCK, str(tmp_path / "stat")]
    assert said(*set_clock, *look).startswith("[False")


HIDDEN = """
import os, sys
import optuna
from kerastune_optuna._study import liveness
from kerastune_optuna._study.liveness import machine, started
from kerastune_optuna._study.record import TrialRecord
optuna.logging.set_verbosity(optuna.logging.ERROR)
study, watch, parent = optuna.create_study(), liveness.Watch(), os.getppid()
for signed in (f"{parent}:{started(parent)}", "4194305:1"):  # Linux has no id as high as that
    study.ask().set_user_attr(TrialRecord.worker, f"{machine()}:{signed}")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print([watch.is_dead(trial) for trial in watch.running(study)], end=" ")
liveness._LEASE_SECONDS = -1
print([watch.is_dead(trial) for trial in watch.running(study)])
"""
HIDE = 'mount -t proc -o hidepid=2 proc /proc && exec "$0" "$@"'


@pytest.mark.slow
def test_the_processes_of_another_user_may_be_hidden():
    """A process that /proc does not show, but that is there, is told by its beats."""
    looks = said("unshare", "-m", "sh", "-c", HIDE, sys.executable, "-c", HIDDEN)
    assert looks == "[False, True] [True, True]"


def test_a_container_is_another_machine():
    """Who has process ids of its own cannot look for the processes of others."""
    told = "from kerastune_optuna._study.liveness import machine; print(machine())"
    contained = ["unshare", "--pid", "--fork", "--mount-proc"]
    assert said(*contained, sys.executable, "-c", told) != machine()


def test_a_clock_that_is_ahead_takes_no_slot_for_left(tuner, look):
    """A slot that was just taken is not dead, nor a search of ten minutes over, by any clock."""
    take(tuner.study)
    assert said(*AN_HOUR_AHEAD, *look).split() == ["[False]", "False"]


def add(study, state, moment, values=None):
    trial = create_trial(state=state, values=values)
    trial.datetime_start = moment
    trial.datetime_complete = moment if state.is_finished() else None
    study.add_trial(trial)


def test_failures_in_a_row_are_told_without_clocks(tuner):
    """A machine whose clock is an hour ahead, where trials fail, does not end the search of all."""
    now = datetime.now()
    for minute in range(3):
        add(tuner.study, TrialState.FAIL, now + timedelta(hours=1, minutes=minute))
        add(tuner.study, TrialState.COMPLETE, now + timedelta(minutes=minute), [0.5, 1.0])
    ending = StopConditions(max_failed_trials=2)
    ending.check_failures(tuner.study)
    add(tuner.study, TrialState.FAIL, now - timedelta(hours=1))
    ending.check_failures(tuner.study)
    add(tuner.study, TrialState.FAIL, now - timedelta(hours=1))
    with pytest.raises(TooManyFailuresError, match="2 trials failed in a row"):
        ending.check_failures(tuner.study)


@pytest.mark.parametrize("ahead", [-1, 1], ids=["behind", "ahead"])
def test_whom_failures_wait_for_is_told_without_clocks(ahead):
    """A slow trial that began beside others is waited for, one that began after them is not."""
    study, moment = optuna.create_study(), datetime.now() + timedelta(hours=ahead)

    def fail():
        trial = study.ask()
        trial.set_user_attr("stop_reason", "ValueError: no such luck")
        study._storage.set_trial_system_attr(trial._trial_id, TrialRecord.sameness, "same")
        study.tell(trial, state=TrialState.FAIL)

    fail()
    add(study, TrialState.RUNNING, moment)
    fail()
    StopConditions().check_failures(study)
    study._storage.set_trial_state_values(study.trials[1]._trial_id, TrialState.FAIL)
    add(study, TrialState.RUNNING, moment)
    with pytest.raises(TooManyFailuresError, match="2 trials failed with the same error before"):
        StopConditions().check_failures(study)


def test_a_task_that_starts_late_has_no_time_of_its_own(tmp_path):
    """When the time is over where the search is led, a task with seconds left begins no trial."""
    tuner = run(tuner_in(tmp_path, objective="val_mae", n_trials=None), n_trials=1)

    class Late(Inline):
        def submit(self, function, payload, number):
            conditions = cloudpickle.loads(payload.pickled).budget.conditions
            conditions.deadline._moment = -math.inf
            conditions.tell_if_late(tuner.study)
            return super().submit(function, payload, number)

    run(tuner, timeout=600, executor=Late())
    assert states(tuner) == ["COMPLETE"]


@pytest.fixture
def reap(tuner, pace):
    """Give a function that looks for dead trials as one process, for which a lease is a second."""
    pace(lease=1.0, silence=1.0)
    watch, budget = Watch(), budget_of(tuner, 9, None)
    return lambda: budget.reap(tuner.study, watch)


def test_a_lease_lasts_for_ninety_seconds(monkeypatch):
    """A machine that looks now and then takes a trial of another for dead after them."""
    monkeypatch.setattr(liveness, "time", clock := Clock())
    study, watch = optuna.create_study(), Watch()
    study.ask().set_user_attr(TrialRecord.worker, ELSEWHERE)
    dead = []
    for clock.now in (0.0, 20.0, 40.0, 60.0, 80.0, 89.0, 91.0):
        dead += [clock.now for trial in watch.running(study) if watch.is_dead(trial)]
    assert dead == [91.0]


@pytest.mark.slow
def test_who_returns_first_after_an_outage_fails_nobody(tuner, tmp_path, reap):
    """Nobody could beat while the database did not answer: each lease begins anew."""
    tuner.study.ask().set_user_attr(TrialRecord.worker, ELSEWHERE)
    assert not reap()
    with lock(tmp_path / "study.db", 1.5):
        assert not reap()
    wait_until(reap)
    assert tuner.study.trials[0].user_attrs["stop_reason"] == DIED


def until_beaten(study, trial):
    def beats():
        return TrialRecord(study._storage.get_trial(trial._trial_id)).beat

    before = beats()
    wait_until(lambda: beats() != before)


@pytest.mark.slow
@pytest.mark.parametrize("away", [True, False], ids=["outage", "none"])
def test_a_process_that_trains_notices_an_outage(tuner, tmp_path, claim, pace, away):
    """Who looks before and after a long training knows from its own beats what others could do."""
    pace(beat=0.1, lease=1.0, silence=1.0)
    tuner.study.ask().set_user_attr(TrialRecord.worker, ELSEWHERE)
    watch = Watch()
    with watch.beating(tuner.study):
        own = claim(watch)
        with lock(tmp_path / "study.db", 1.5) if away else nullcontext():
            time.sleep(0 if away else 1.5)
        until_beaten(tuner.study, own)
        assert budget_of(tuner, 9, None).reap(tuner.study, watch) is not away


def test_a_slot_that_nobody_signed_is_run_again(tuner, reap):
    """Where a process was killed before it could sign, its lease lapses on any machine."""
    take(tuner.study, **{TrialRecord.slot: "elsewhere-1"})
    assert not reap()
    wait_until(reap)
    assert tuner.study.trials[0].user_attrs["stop_reason"] == INTERRUPTED
    assert TrialRecord(tuner.study.trials[1]).retry_of == 0


def test_a_trial_of_foreign_code_is_left_alone(tuner, reap):
    """A trial that a script of the user asked for is neither signed nor beats, and is its own."""
    tuner.study.ask()
    take(tuner.study)
    wait_until(reap)
    assert states(tuner)[:2] == ["RUNNING", "FAIL"]


KILL = """
import os, signal, sys
import optuna
from kerastune_optuna._storage.database import connect
from kerastune_optuna._search import Budget
from kerastune_optuna._study.liveness import Watch
class Killed(optuna.samplers.RandomSampler):
    def before_trial(self, study, trial):
        os.kill(os.getpid(), signal.SIGKILL)
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = connect(sys.argv[1], 60)
study = optuna.load_study(study_name="test", storage=storage, sampler=Killed())
Budget(None).claim(study, Watch())
"""


@pytest.mark.slow
@needs_posix
def test_a_kill_while_the_sampler_thinks_costs_no_trial(tuner, tmp_path):
    """Without n_trials too, what a killed process had just begun is run again."""
    assert tuner.study.trials == []
    url = f"sqlite:///{tmp_path}/study.db"
    killed = forks.run([sys.executable, "-c", KILL, url], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert budget_of(tuner, 9, None).reap(tuner.study, Watch())
    assert tuner.study.trials[0].user_attrs["stop_reason"] == DIED


def test_a_process_beats_while_its_sampler_thinks(tmp_path, pace):
    """A Gaussian process may think for longer than a lease lasts."""

    class Thinking(optuna.samplers.RandomSampler):
        def before_trial(self, study, trial):
            until_beaten(study, trial)

    pace(beat=0.05)
    tuner = tuner_in(tmp_path, objective="val_mae", n_trials=1, sampler=Thinking())
    assert states(run(tuner)) == ["COMPLETE"]


def test_a_sampler_that_raises_ends_the_beat(tuner, pace):
    """A trial that a claim could not begin is left, for the next search to find."""
    pace(beat=0.05)

    class Raising(optuna.samplers.RandomSampler):
        def before_trial(self, study, trial):
            raise OSError("no such luck")

    budget, watch = budget_of(tuner, 9, None), Watch()
    tuner.study.sampler = Raising()
    with pytest.raises(OSError, match="no such luck"):
        budget.claim(tuner.study, watch)
    assert budget.reap(tuner.study, watch)


@pytest.mark.slow
def test_a_trial_of_a_vanished_machine_is_run_again(tmp_path, monkeypatch, pace):
    """A search names whom it waits for, and runs a trial again whose lease has lapsed."""
    monkeypatch.setattr(liveness, "time", clock := Clock())
    monkeypatch.setattr(_signals, "print_line", (told := []).append)
    pace(poll=0.1, wait=0.1)
    tuner = tuner_in(tmp_path, n_trials=3, pruner="none", keep_best=0)
    vanished, alive = tuner.study.ask(), tuner.study.ask()
    for trial in (vanished, alive):
        build(trial)
        trial.set_user_attr(TrialRecord.worker, NODE3)

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
            tuner.study._storage.set_trial_user_attr(1, TrialRecord.worker, by)
        else:
            with sqlite3.connect(tmp_path / "study.db") as connection:
                connection.execute("UPDATE trials SET state = 'WAITING'")
                connection.execute("DELETE FROM trial_user_attributes WHERE key = 'worker'")
        wait_until(lambda: beat > 1 or not own_runs._trials)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=lose)
    run(tuner, callbacks=[lambda trial: callback])
    lost = [0, 1] if beat < 1 else [0, 1, 2, 3, 4]
    assert epochs == [*lost, 0, 1, 2, 3, 4]
    assert states(tuner) == ["FAIL", "COMPLETE"][by is None :]


@pytest.mark.parametrize("error", [TypeError, KeyboardInterrupt])
def test_who_lost_its_trial_ends_nobody_elses(tmp_path, error):
    """A run that fails or is interrupted leaves a trial alone that another signed meanwhile."""

    def lose(trial):
        trial.set_user_attr(TrialRecord.worker, NODE3)
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
from kerastune_optuna._study.liveness import Watch
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
        trial.set_user_attr(TrialRecord.worker, DEAD)
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
    trial.set_user_attr(TrialRecord.worker, DEAD)

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
