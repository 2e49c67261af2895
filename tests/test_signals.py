"""Signals: Ctrl-C and others end a search in good order, in all its processes."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import keras
import psutil
import pytest

from kerastune_optuna import _signals
from kerastune_optuna._study.record import DONE, TrialRecord
from kerastune_optuna._study.retry import DIED, INTERRUPTED
from tests.support import forks, searching
from tests.support.faults import (
    ROOT,
    WATCHDOG,
    failed,
    finished,
    states,
    trials_of,
    wait_for_epochs,
)
from tests.support.hosts import FORK, needs_posix
from tests.support.marks import mostly_nightly
from tests.support.models import build_model
from tests.support.untrained import build, run, tuner_in

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none


def _sleep(begun):
    begun.set()
    time.sleep(3600)


@needs_posix
@pytest.mark.parametrize("is_waited_for", [True, False], ids=["later", "at-once"])
def test_a_child_that_was_forked_in_a_search_can_be_terminated(tmp_path, is_waited_for):
    """A process that a builder starts by fork ends by SIGTERM, as it does outside of a search."""
    codes = []

    def forking(trial):
        begun = FORK.Event()
        child = FORK.Process(target=_sleep, args=(begun,), daemon=True)
        child.start()
        if is_waited_for:
            begun.wait()
        child.terminate()
        child.join(WATCHDOG)
        codes.append(child.exitcode)
        child.kill()
        return build(trial)

    run(tuner_in(tmp_path, forking, n_trials=3, keep_best=0))
    assert codes == [-signal.SIGTERM] * 3


_ENDING = (_signals.__file__, threading.__file__)


def _signalled_at(line):
    """End a search with a signal at that line of what ends it; tell whether there are so many."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if event == "line" and frame.f_code.co_filename in _ENDING:
            lines += 1
            if lines == line:
                signal.raise_signal(signal.SIGTERM)
        return trace

    with suppress(SystemExit), _signals.listening(""):
        sys.settrace(trace)
    sys.settrace(None)
    return lines >= line


def _signal_at_each_line():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, taken := lambda number, frame: None)
    line = next(line for line in itertools.count(1) if not _signalled_at(line))
    is_restored = signal.signal(signal.SIGTERM, before) is taken
    sys.exit(0 if line > 10 and is_restored and not _signals.requested() else 1)


@needs_posix
def test_a_signal_at_the_end_of_a_search_does_no_harm():
    """Wherever it comes while the handlers are taken down, nothing waits for itself."""
    child = FORK.Process(target=_signal_at_each_line)
    child.start()
    child.join(WATCHDOG)
    child.kill()
    child.join()
    assert child.exitcode == 0


@needs_posix
def test_a_hangup_that_is_ignored_stays_ignored(tmp_path):
    """A search under nohup goes on when its terminal is closed."""

    def hang_up(trial):
        signal.raise_signal(signal.SIGHUP)
        return build(trial)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        tuner = run(tuner_in(tmp_path, hang_up, n_trials=2))
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [trial.state in DONE for trial in tuner.study.trials] == [True] * 2


def test_what_fails_once_a_signal_came_is_interrupted(tmp_path, unhurried):
    """A cluster sends SIGTERM to a trial's loader too, whose death says nothing of the trial."""

    def fail(epoch, logs):
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly")

    callback = keras.callbacks.LambdaCallback(on_epoch_end=fail)
    with pytest.raises(SystemExit):
        run(tuner_in(tmp_path, n_trials=1), callbacks=[lambda trial: callback])
    cut_off, again = trials_of(tuner_in(tmp_path))
    assert cut_off.user_attrs["stop_reason"] == INTERRUPTED
    assert TrialRecord(again).retry_of == 0


@pytest.mark.slow
def test_a_worker_that_is_terminated_alone_died_of_its_trial(search, capfd):
    """Who frees memory by SIGTERM, like earlyoom, counts as the kernel that does so by SIGKILL."""

    def build(trial):
        if TrialRecord(trial).retry_of is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return build_model(trial)

    tuner = search(build, n_trials=1, fit={"n_workers": 2})
    assert trials_of(tuner)[0].user_attrs["stop_reason"] == DIED
    assert states(tuner) == ["FAIL", "COMPLETE"]
    assert "died by SIGTERM; another takes its place" in capfd.readouterr().err


@pytest.mark.slow
def test_sigterm_to_the_leader_interrupts_its_workers(search, make_tuner):
    """Who ends the process that leads a search loses no trial of its workers."""
    leader = os.getpid()

    def end(epoch, logs):
        if epoch == 0:
            os.kill(leader, signal.SIGTERM)
        time.sleep(0.01)

    ending = keras.callbacks.LambdaCallback(on_epoch_end=end)
    fit = {"n_workers": 2, "epochs": 100_000, "callbacks": [lambda trial: ending]}
    with pytest.raises(SystemExit):
        search(n_trials=1, fit=fit)
    cut_off, again = trials_of(make_tuner())
    assert cut_off.user_attrs["stop_reason"] == INTERRUPTED
    assert TrialRecord(again).retry_of == 0
    assert again.state.name == "WAITING"


INTERRUPTS = {
    "ctrl-c": (1, signal.SIGINT, -2),
    "hangup": (1, _HANGUP, 129),
    "ctrl-c-of-two": (2, signal.SIGINT, -2),
    "sigterm-of-two": (2, signal.SIGTERM, 143),
    "hangup-of-two": (2, _HANGUP, 129),
}
SLOW = "ctrl-c", "ctrl-c-of-two", "sigterm-of-two"


@pytest.mark.parametrize(("n_workers", "sent", "code"), mostly_nightly(INTERRUPTS, *SLOW))
def test_an_interrupted_search_is_resumed(search, make_tuner, tmp_path, n_workers, sent, code):
    """The first signal ends the search, says how to go on, and loses nothing."""
    directory = tmp_path / "tuning"
    directory.mkdir()
    (directory / "slow").touch()
    command = [sys.executable, searching.__file__, str(directory), str(n_workers), "", "4"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    interrupted = forks.start(command, env=env, start_new_session=True, **PIPES)
    wait_for_epochs(directory, n_workers)
    processes = psutil.Process(interrupted.pid).children(recursive=True)
    os.killpg(interrupted.pid, sent)
    _, err = interrupted.communicate(timeout=WATCHDOG)
    assert interrupted.returncode == code, err
    assert "Call it with the same arguments to continue study 'test'" in err
    _, alive = psutil.wait_procs(processes, timeout=WATCHDOG)
    assert alive == []
    tuner = make_tuner(n_trials=4)
    assert "RUNNING" not in states(tuner)
    stopped = failed(tuner)
    assert {trial.user_attrs["stop_reason"] for trial in stopped} == {INTERRUPTED}
    search(tuner=tuner, fit={"epochs": 4})
    assert len(finished(tuner)) == 4
    again = [trial.params for trial in finished(tuner) if TrialRecord(trial).retry_of is not None]
    assert all(trial.params in again for trial in stopped)


STUBBORN = """
import sys, time
import keras
from kerastune_optuna import _signals
from tests.support.models import build_model, in_classes
from tests.support.untrained import run, tuner_in
_signals._GRACE = float(sys.argv[2])
def hang(batch, logs):
    print("slow", flush=True)
    while not _signals.requested():
        time.sleep(0.05)
    print("asked", flush=True)
    time.sleep(3600)
x, y = in_classes()
hanging = lambda trial: keras.callbacks.LambdaCallback(on_train_batch_end=hang)
tuner = tuner_in(sys.argv[1], build_model, "val_accuracy")
run(tuner, x=x, y=y, validation_data=(x, y), callbacks=[hanging])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "grace"), [(1, 2), (2, 600)])
def test_a_batch_that_lasts_is_interrupted(tmp_path, signals, grace):
    """A second Ctrl-C ends a batch that hangs at once; without one the first ends it in time."""
    command = [sys.executable, "-c", STUBBORN, str(tmp_path), str(grace)]
    search = forks.start(command, cwd=ROOT, **PIPES)
    assert search.stdout.readline() == "slow\n"
    search.send_signal(signal.SIGINT)
    assert search.stdout.readline() == "asked\n"
    if signals == 2:
        search.send_signal(signal.SIGINT)
    _, err = search.communicate(timeout=WATCHDOG)
    assert search.returncode == -signal.SIGINT, err
    assert "search() was stopped. Call it with the same arguments" in err
