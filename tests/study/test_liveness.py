"""Whose trial it is and until when a search runs, where clocks step and the database stays away."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from datetime import datetime, timedelta

import cloudpickle
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from kerastune_optuna import TooManyFailuresError
from kerastune_optuna._arguments import budget_of
from kerastune_optuna._search import StopConditions
from kerastune_optuna._storage.patience import WORKER
from kerastune_optuna._study import heartbeat
from kerastune_optuna._study.heartbeat import Watch
from kerastune_optuna._study.liveness import leaving_all, machine
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import DIED, lay_out
from tests.support import forks
from tests.support.faults import ROOT, Clock, lock, states, wait_until
from tests.support.hosts import Inline, needs_posix
from tests.support.untrained import run, tuner_in

ELSEWHERE = "elsewhere-1:1:1"

LOOK = """
import pickle, sys
import optuna
from kerastune_optuna._storage.database import connect
from kerastune_optuna._study.heartbeat import Watch
study = optuna.load_study(study_name="test", storage=connect(sys.argv[1], 60))
print([Watch().is_dead(trial) for trial in study.trials])
print(pickle.loads(bytes.fromhex(sys.argv[2])).ending.is_over())
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

    with leaving_all():
        yield claim_one


def test_a_step_of_the_clock_takes_nobody_for_dead(tmp_path, claim, look):
    """A process that looks after the clock was set leaves the trial of one that began before."""
    claim(Watch())
    set_clock = ["unshare", "-m", "sh", "-c", SET_CLOCK, str(tmp_path / "stat")]
    assert said(*set_clock, *look).startswith("[False")


HIDDEN = """
import os, sys
import optuna
from kerastune_optuna._storage.patience import WORKER
from kerastune_optuna._study import heartbeat
from kerastune_optuna._study.liveness import machine, started
optuna.logging.set_verbosity(optuna.logging.ERROR)
study, watch, parent = optuna.create_study(), heartbeat.Watch(), os.getppid()
for signed in (f"{parent}:{started(parent)}", "4194305:1"):  # Linux has no id as high as that
    study.ask().set_user_attr(WORKER, f"{machine()}:{signed}")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print([watch.is_dead(trial) for trial in watch.running(study)], end=" ")
heartbeat._LEASE_SECONDS = -1
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
            job = cloudpickle.loads(payload.pickled)
            job.budget.ending.deadline.let_pass()
            job.tell_if_late(tuner.study)
            return super().submit(function, payload, number)

    run(tuner, timeout=600, executor=Late())
    assert states(tuner) == ["COMPLETE", "FAIL"]
    assert not TrialRecord(tuner.study.trials[1]).has_begun


@pytest.fixture
def reap(tuner, pace):
    """Give a function that looks for dead trials as one process, for which a lease is a second."""
    pace(lease=1.0, silence=1.0)
    watch, budget = Watch(), budget_of(tuner, 9, None)
    return lambda: budget.reap(tuner.study, watch)


def test_a_lease_lasts_for_ninety_seconds(monkeypatch):
    """A machine that looks now and then takes a trial of another for dead after them."""
    monkeypatch.setattr(heartbeat, "time", clock := Clock())
    study, watch = optuna.create_study(), Watch()
    study.ask().set_user_attr(WORKER, ELSEWHERE)
    dead = []
    for clock.now in (0.0, 20.0, 40.0, 60.0, 80.0, 89.0, 91.0):
        dead += [clock.now for trial in watch.running(study) if watch.is_dead(trial)]
    assert dead == [91.0]


@pytest.mark.slow
def test_who_returns_first_after_an_outage_fails_nobody(tuner, tmp_path, reap):
    """Nobody could beat while the database did not answer: each lease begins anew."""
    tuner.study.ask().set_user_attr(WORKER, ELSEWHERE)
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
    tuner.study.ask().set_user_attr(WORKER, ELSEWHERE)
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
    assert tuner.study.trials[0].user_attrs["stop_reason"] == DIED
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
from kerastune_optuna._study.heartbeat import Watch
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
