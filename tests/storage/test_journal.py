"""The journal file: whoever writes late, half or not at all takes nothing from the others."""

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

# Stops before it calls what it is told to with the file, when it has the lock in its hands.
WRITER = """
import os, resource, signal, sys, warnings
import optuna
from optuna.storages import journal
from kerastune_optuna._storage.database import connect

warnings.simplefilter("ignore")
path, kind, where, room = sys.argv[1:]
lock = getattr(journal, kind)(path, grace_period=0.1)
storage = connect(optuna.storages.JournalStorage(journal.JournalFileBackend(path, lock)))
study = optuna.load_study(study_name="test", storage=storage)

def stop(frame, event, function):
    called = getattr(function, "__self__", None)
    if event == "c_call" and function.__name__ == where and getattr(called, "name", 0) == path:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGSTOP)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + int(room), most))
sys.setprofile(stop)
try:
    study.set_user_attr("late", "x" * 1000)
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    study.set_user_attr("later", 1)
"""


@contextmanager
def stopped(path, lock, before, room):
    """Stop a process before a call of the file's, which may grow by `room` bytes; let it go on."""
    command = [sys.executable, "-c", WRITER, path, lock.__name__, before, str(room)]
    with forks.start(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as writer:
        try:
            status = psutil.Process(writer.pid).status
            wait_until(lambda: writer.poll() is not None or status() == psutil.STATUS_STOPPED)
            assert writer.poll() is None, writer.stderr.read()
            yield writer
        finally:
            writer.send_signal(signal.SIGCONT)
        writer.told = writer.communicate()[1]


def opened(path, lock=None):
    return connect(optuna.storages.JournalStorage(JournalFileBackend(str(path), lock)))


def as_optuna_reads(path):
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="test", storage=storage)


WHOLE = ["acknowledged", "late", "later"]
PAUSES = {
    "symlink": (JournalFileSymlinkLock, "write", 10_000, WHOLE),
    "open": (JournalFileOpenLock, "write", 10_000, WHOLE),
    "half a line": (JournalFileSymlinkLock, "tell", 100, ["acknowledged", "later"]),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The value of `grace_period`")  # a test waits less
@pytest.mark.parametrize(("lock", "before", "room", "there"), PAUSES.values(), ids=PAUSES)
def test_who_pauses_with_the_lock_takes_nothing_from_others(tmp_path, lock, before, room, there):
    """What others wrote while a process was stopped stays, and so does what it writes then."""
    path = str(tmp_path / "journal.log")
    study = optuna.create_study(study_name="test", storage=opened(path, lock(path, 0.1)))
    with stopped(path, lock, before, room) as writer:
        study.set_user_attr("acknowledged", 1)  # once the lock has been taken over
    assert (writer.returncode == 0) == (there is WHOLE), writer.told
    assert ("only a part of a line could be written" in writer.told) == (there is not WHOLE)
    assert list(as_optuna_reads(path).user_attrs) == there


def test_half_a_line_of_a_killed_process_ruins_no_other(tmp_path):
    """What a power cut left of a line goes before the next one is written."""
    path = tmp_path / "journal.log"
    study = optuna.create_study(study_name="test", storage=opened(path))
    with path.open("ab") as file:
        file.write(b'{"op_code":2,"wor')
    study.set_user_attr("after", 1)
    assert as_optuna_reads(path).user_attrs == {"after": 1}


def test_a_journal_survives_a_full_disk(tmp_path):
    """A line that does not fit is not left half: the journal can be read and written afterwards."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        path = disk / "journal.log"
        study = optuna.create_study(storage=opened(path), study_name="test")

        def fill():
            while True:
                study.ask().set_user_attr("long", "x" * 100_000)

        with pytest.raises(StorageError, match=r"did not answer for \d s"):
            fill()
        written = len(study.trials)
        assert path.read_bytes().endswith(b"\n")
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        study.ask().set_user_attr("short", "x")
        assert len(as_optuna_reads(path).trials) >= written
