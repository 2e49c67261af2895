"""What the fault tests do to a search: kill its workers, lock its database, stop its server."""

import glob
import itertools
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import keras
import psutil
import pytest
import sqlalchemy

from kerastune_optuna._storage.artifacts import WholeFileStore
from kerastune_optuna._study.ending import Ending
from kerastune_optuna._study.record import TrialRecord
from tests.support.hosts import need_root
from tests.support.models import build_eager
from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]
WATCHDOG = 300  # seconds after which a test fails in place of waiting for ever


def wait_until(is_so, seconds=WATCHDOG):
    """Return what a function returns once that is true; look often, and fail in the end."""
    gives_up = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < gives_up, "what was waited for did not come"
        time.sleep(0.05)
    return found


def meet(folder, processes):
    """Wait in a builder for that many processes, of which the first could run all trials alone."""
    (folder / f"{os.getpid()}.pid").touch()
    wait_until(lambda: len(list(folder.glob("*.pid"))) >= processes)


def finished(tuner):
    """Return the trials that count."""
    return [trial for trial in tuner.study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def failed(tuner):
    """Return the trials that failed, without those that were one too many."""
    trials = [trial for trial in tuner.study.trials if trial.state.name == "FAIL"]
    return [trial for trial in trials if TrialRecord(trial).has_begun]


def trials_of(tuner):
    """Return all trials but those that were one too many beside other workers'."""
    return [one for one in tuner.study.trials if TrialRecord(one).ending is not Ending.WITHDRAWN]


def states(tuner):
    return [trial.state.name for trial in trials_of(tuner)]


def evaluated(model, data):
    """Return the accuracy of a model on the validation data of the fixture `data`."""
    return model.evaluate(*data[2], verbose=0, return_dict=True)["accuracy"]


class Clock:
    """Stand in for the module `time` of a part of the package, and go on where a test says so."""

    now = 0.0

    def monotonic(self):
        """Tell the time."""
        return self.now

    def sleep(self, seconds):
        """Let them pass."""
        self.now += seconds


class EpochLog:
    """Make callbacks that write the epochs of a trial, its process and the time into a file."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, trial):
        """Make the callback of a trial."""

        def write(what):
            with open(self.path, "a") as file:
                file.write(f"{trial.number} {what} {os.getpid()} {time.time()}\n")

        return keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs=None: write("begin"),
            on_epoch_end=lambda epoch, logs=None: write(epoch),
            on_train_end=lambda logs=None: write("end"),
        )


def logged(path):
    """Return the lines of an EpochLog as (number, what, process, time)."""
    if not Path(path).exists():
        return []
    lines = [line.split() for line in Path(path).read_text().splitlines()]
    return [(int(number), what, int(pid), float(when)) for number, what, pid, when in lines]


def processes_in(path):
    """Return the processes that have trained an epoch."""
    return {pid for _, what, pid, _ in logged(path) if what == "0"}


def run_to_the_end(path):
    """Return how often each trial was trained to its end."""
    return Counter(number for number, what, _, _ in logged(path) if what == "end")


def wait_for_epochs(folder, workers=1):
    """Wait until that many processes have trained an epoch, as the file "log" there says."""
    wait_until(lambda: len(processes_in(folder / "log")) >= workers)


def kill_at(epoch):
    """Return a factory of callbacks that kill the process of a trial that is no retry."""

    def make(trial):
        def kill(now, logs):
            if now == epoch and TrialRecord(trial).retry_of is None:
                os.kill(os.getpid(), signal.SIGKILL)

        return keras.callbacks.LambdaCallback(on_epoch_begin=kill)

    return make


def builder_to_kill(folder, number, n_workers=1):
    """Return a builder that waits in one trial until its process is killed.

    All workers are there before that, and where there are several also the one in its place.
    """

    def build(trial):
        meet(folder, n_workers + (trial.number > number and n_workers > 1))
        if trial.number == number:
            (folder / "part").write_text(f"{os.getpid()}")
            (folder / "part").rename(folder / "to-kill")
            time.sleep(WATCHDOG)
        return build_eager(trial)

    return build


@contextmanager
def killing_once(folder):
    """Kill, meanwhile, the process that waits for it."""

    def kill():
        wait_until((folder / "to-kill").exists)
        os.kill(int((folder / "to-kill").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()


def interrupt_after(epochs, ended, interrupt=signal.default_int_handler):
    """Return a callback that notes which epochs end in any trial, and interrupts one of them."""

    def note(epoch, logs):
        ended.append(epoch)
        if len(ended) == epochs:
            interrupt(signal.SIGINT, None)

    return keras.callbacks.LambdaCallback(on_epoch_end=note)


def interrupt_at(epoch):
    """Return a factory of callbacks that interrupt a trial which is no retry in mid-epoch."""

    def make(trial):
        begun = []

        def interrupt(batch, logs):
            if (begun[-1], batch, TrialRecord(trial).retry_of) == (epoch, 1, None):
                signal.raise_signal(signal.SIGINT)

        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda now, logs: begun.append(now), on_train_batch_end=interrupt
        )

    return make


class SlowStore(WholeFileStore):
    """Call `begun`, and take as long as a large model would, for files whose names end so."""

    def __init__(self, base_path, kind, begun=lambda: None, seconds=1.5):
        super().__init__(base_path)
        self.kind, self.begun, self.seconds = kind, begun, seconds

    def write(self, artifact_id, content_body):
        """Write late."""
        if artifact_id.endswith(self.kind):
            self.begun()
            time.sleep(self.seconds)
        super().write(artifact_id, content_body)


class Killer(threading.Thread):
    """Kill workers of this process that train now and then; then make the file `all_made`.

    It spares those that have begun no trial, as an EpochLog says: to kill a worker while it imports
    TensorFlow says little and costs seconds.
    """

    def __init__(self, kills, log, all_made):
        super().__init__(daemon=True)
        self.kills, self.log, self.all_made = kills, log, all_made
        self.killed, self.over = [], threading.Event()
        self.random = random.Random(0)  # fixes the moments as far as they can be

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()

    def run(self):
        """Kill, unless the search is over."""
        while len(self.killed) < self.kills and not self.over.wait(self.random.uniform(0.2, 1.2)):
            # A first epoch may take longer than all others, and a trial has no backup before it.
            at_least = self.random.choice(["begin", "0"])
            training = {pid for _, what, pid, _ in logged(self.log) if what == at_least}
            training -= set(self.killed)  # one of which may not have ended yet
            ours = psutil.Process().children(recursive=True)
            if workers := [one for one in ours if one.pid in training and lives(one)]:
                victim = self.random.choice(workers)
                victim.kill()
                self.killed.append(victim.pid)
        self.all_made.touch()


def lives(process):
    """Whether a process was not killed yet."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


class Server:
    """Run a PostgreSQL server of the test's own in a folder, which it may stop and start."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def _run(self, program, *arguments):
        path = os.pathsep.join([os.environ["PATH"], *glob.glob("/usr/lib/postgresql/*/bin")])
        if (found := shutil.which(program, path=path)) is None:
            pytest.skip(f"{program} of PostgreSQL is not installed")
        # PostgreSQL refuses to run as root, which tests do in a container.
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*prefix, found, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)

    def start(self):
        """Start it and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = f"{self.folder}/log"
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-o", options, "-l", log, "-w", "start")

    def stop(self):
        """Stop it as a crash would, its clients' connections and all."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-w", "stop")


@contextmanager
def own_server():
    """Give a running PostgreSQL server that is the test's own."""
    # Not pytest's folder, which belongs to root alone where the tests run as root.
    with tempfile.TemporaryDirectory() as folder, free_port() as port:
        server = Server(folder, port)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        server._run("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust")
        server.start()
        try:
            yield server
        finally:
            server.stop()


LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def lock(database, seconds):
    """Lock a SQLite database from another process; return once it is locked."""
    command = [sys.executable, "-c", LOCKER, str(database), str(seconds)]
    locker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert locker.stdout.readline() == "locked\n"
    return locker


@contextmanager
def small_disk(folder, size):
    """Give a folder on a disk of that size, like "4m"."""
    need_root()
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class CuttingProxy(threading.Thread):
    """Stand in front of a database server, and cut its clients off at some of their messages.

    The message is lost: of what the client asked for nothing has happened where it is the client's,
    and all of it where it is the server's answer.
    """

    def __init__(self, url):
        super().__init__(daemon=True)
        self.behind = sqlalchemy.make_url(url)
        self.listener = socket.create_server(("127.0.0.1", 0))
        here = self.behind.set(host="127.0.0.1", port=self.listener.getsockname()[1])
        self.url = here.render_as_string(hide_password=False)
        self.cuts, self.peers = 0, {}
        self.pass_on()
        self.ready = selectors.DefaultSelector()
        self.ready.register(self.listener, selectors.EVENT_READ)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        for end in self.peers:
            end.close()
        self.listener.close()
        self.ready.close()

    def pass_on(self):
        """Cut nobody off from now on."""
        self.cuts_here = itertools.repeat(False)

    def cut_at(self, number):
        """Cut at the message of that number from now on, counted from 0."""
        self.cuts_here = itertools.chain([False] * number, [True], itertools.repeat(False))

    def cut_all(self):
        """Cut everybody off until somebody calls pass_on()."""
        self.cuts_here = itertools.repeat(True)

    def cut_at_random(self, cuts, chance=0.03, seed=0):
        """Cut so often, at messages that are drawn at random."""
        drawn = random.Random(seed)
        until = self.cuts + cuts
        self.cuts_here = (
            self.cuts < until and drawn.random() < chance for _ in itertools.repeat(None)
        )

    def run(self):
        """Pass messages on and cut, until the listener is closed."""
        while True:
            for key, _ in self.ready.select():
                if key.fileobj is not self.listener:
                    self._pass_on(key.fileobj)
                elif not self._accept():
                    return

    def _accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return False
        server = socket.create_connection((self.behind.host, self.behind.port))
        for one, other in ((client, server), (server, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peers[one] = other
            self.ready.register(one, selectors.EVENT_READ)
        return True

    def _pass_on(self, one):
        if one not in self.peers:
            return  # its other end was closed a moment ago
        with suppress(OSError):
            if message := one.recv(1 << 16):
                if not next(self.cuts_here):
                    self.peers[one].sendall(message)
                    return
                self.cuts += 1
        for end in (one, self.peers[one]):
            self.ready.unregister(end)
            del self.peers[end]
            end.close()
