"""The journal file: whoever writes late or half takes nothing from the others."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import optuna
import psutil
import pytest
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock

from kerastune_optuna import StorageError
from kerastune_optuna._storage.database import connect
from tests.support import forks
from tests.support.faults import ROOT, small_disk, wait_until

# Stops before it writes, when it has the lock in its hands.
WRITER = """
import os, signal, sys, warnings
import optuna
from optuna.storages import journal
from kerastune_optuna._storage.database import connect

warnings.simplefilter("ignore")
path, kind = sys.argv[1:]
lock = getattr(journal, kind)(path, grace_period=0.1)
storage = connect(optuna.storages.JournalStorage(journal.JournalFileBackend(path, lock)))
study = optuna.load_study(study_name="test", storage=storage)

def stop(frame, event, function):
    called = getattr(function, "__self__", None)
    if event == "c_call" and function.__name__ == "write" and getattr(called, "name", 0) == path:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGSTOP)

sys.setprofile(stop)
study.set_user_attr("late", "x" * 1000)
study.set_user_attr("later", 1)
"""


@contextmanager
def stopped(path, lock):
    """Stop a process before it writes to the file; let it go on in the end."""
    command = [sys.executable, "-c", WRITER, path, lock.__name__]
    with forks.start(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as writer:
        try:
            status = psutil.Process(writer.pid).status
            wait_until(lambda: writer.poll() is not None or status() == psutil.STATUS_STOPPED)
            assert writer.poll() is None, writer.stderr.read()
            yield
        finally:
            writer.send_signal(signal.SIGCONT)
        told = writer.communicate()[1]
        assert writer.returncode == 0, told


def opened(path, lock=None):
    return connect(optuna.storages.JournalStorage(JournalFileBackend(str(path), lock)), 0.0)


def as_optuna_reads(path):
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="test", storage=storage)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The value of `grace_period`")  # a test waits less
@pytest.mark.parametrize("lock", [JournalFileSymlinkLock, JournalFileOpenLock])
def test_who_pauses_with_the_lock_takes_nothing_from_others(tmp_path, lock):
    """What others wrote while a process was stopped stays, and so does what it writes then."""
    path = str(tmp_path / "journal.log")
    study = optuna.create_study(study_name="test", storage=opened(path, lock(path, 0.1)))
    with stopped(path, lock):
        study.set_user_attr("acknowledged", 1)  # once the lock has been taken over
    assert list(as_optuna_reads(path).user_attrs) == ["acknowledged", "late", "later"]


def test_half_a_line_of_a_killed_process_ruins_no_other(tmp_path):
    """What a power cut left of a line goes before the next one is written."""
    path = tmp_path / "journal.log"
    study = optuna.create_study(study_name="test", storage=opened(path))
    with path.open("ab") as file:
        file.write(b'{"op_code":2,"wor')
    study.set_user_attr("after", 1)
    assert as_optuna_reads(path).user_attrs == {"after": 1}


def test_a_journal_survives_a_full_disk(tmp_path):
    """Half of a line that does not fit goes with the next write, so that all can be read then."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        path = disk / "journal.log"
        study = optuna.create_study(storage=opened(path), study_name="test")

        def fill():
            while True:
                study.ask().set_user_attr("long", "x" * 100_000)

        with pytest.raises(StorageError, match=r"did not answer for \d s"):
            fill()
        written = len(study.trials)
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        study.ask().set_user_attr("short", "x")
        assert len(as_optuna_reads(path).trials) >= written
