"""The hosts of the storm, and the servers that they search with.

A host is a pid, mount and uts namespace: it sees no other's processes, and has a name, a boot id
and a small disk of its own. It shares the network with the others, but reaches the servers through
gates of its own.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import sqlalchemy

from tests.support.faults import ROOT, CuttingProxy, own_server, small_disk
from tests.support.s3 import s3_server

DISK = "32m"
_ENTER = "unshare --pid --fork --kill-child --mount --uts --mount-proc".split()
# The first process of a host, which starts the search again whenever it broke off, as systemd does.
_INIT = """
hostname "$STORM_HOST" || exit
mount --bind "$STORM_FILES/boot_id" /proc/sys/kernel/random/boot_id || exit
cd "$STORM_FILES/disk" || exit
leader='from tests.benchmarks._leader import main; main()'
until "$STORM_PYTHON" -c "$leader" "$STORM_SEARCH"; do sleep 3; done
touch "$STORM_FILES/done"
exec sleep infinity
"""


class Gate(CuttingProxy):
    """A way to a server that can be shut: then each message cuts its connection, and none opens."""

    is_shut = False

    def shut(self):
        """Cut all off and refuse connections from now on."""
        self.is_shut = True
        self.cut_all()

    def open(self):
        """Let everything through from now on."""
        self.pass_on()
        self.is_shut = False

    def _accept(self):
        if self.is_shut:
            try:
                self.listener.accept()[0].close()
            except OSError:
                return False  # the listener was closed: all is over
            return True
        with suppress(ConnectionError):  # the server is away: the client's connection is closed
            return bool(super()._accept())
        return True


class Host:
    """A machine that searches until the study is full, with gates of its own to the servers.

    Its folder is on a disk that does not fill up, and has a small disk of its own in it.
    """

    def __init__(self, name, ground, database, store, n_trials):
        self.name, self.database, self.store = name, database, store
        self.boots, self._process = 0, None
        self.folder = ground / name
        self.disk = self.folder / "disk"
        self._ballast = self.disk / "ballast"
        files = str(ground / "diary"), str(ground / "ends")
        self._search = json.dumps([database.url, store.url, n_trials, *files])

    def start(self):
        """Boot: begin the search."""
        self.boots += 1
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        (self.disk / "tmp").mkdir(exist_ok=True)
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONFAULTHANDLER": "1",  # whoever hangs can be asked where
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TMPDIR": str(self.disk / "tmp"),
            "STORM_HOST": self.name,
            "STORM_BOOT": str(self.boots),
            "STORM_FILES": str(self.folder),
            "STORM_PYTHON": sys.executable,
            "STORM_SEARCH": self._search,
        }
        with open(self.folder / "log", "ab") as log:
            files = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            command = [*_ENTER, "bash", "-c", _INIT]
            self._process = subprocess.Popen(command, env=env, start_new_session=True, **files)

    def kill(self):
        """End all of its processes at once, as a power cut does; its disk stays."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            for first in psutil.Process(self._process.pid).children():
                first.kill()  # with which the kernel ends the others
        self._process.wait()

    @property
    def is_done(self):
        """Whether its search ended with a full study."""
        return (self.folder / "done").exists()

    def processes(self):
        """Return its processes of Python."""
        with suppress(psutil.NoSuchProcess):
            if self._process is not None:
                found = psutil.Process(self._process.pid).children(recursive=True)
                return [one for one in found if "python" in _command(one)]
        return []

    def leader(self):
        """Return the process that called search(); None where there is none now."""
        return next((one for one in self.processes() if "_leader" in _command(one)), None)

    def workers(self):
        """Return its worker processes."""
        script = str(Path("_workers", "boot.py"))
        return [one for one in self.processes() if script in _command(one)]

    def identity(self, process):
        """Return what the diary calls one of its processes; its id is 0 where it is gone."""
        inside = 0
        with suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            inside = int(re.search(r"^NSpid:.*\t(\d+)$", status, re.MULTILINE)[1])
        return self.name, self.boots, inside

    def fill_disk(self):
        """Leave no room on its disk."""
        with suppress(OSError), open(self._ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free_disk(self):
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def left_on_disk(self):
        """Return the files on its disk, and the folders in its temporary one."""
        files = [path for path in self.disk.rglob("*") if path.is_file()]
        folders = [path for path in (self.disk / "tmp").glob("*") if path.is_dir()]
        return [f"{self.name}:{path.relative_to(self.disk)}" for path in (*files, *folders)]


def send(processes, number):
    """Send a signal to processes, some of which may be gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _command(process):
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


class Land:
    """All that there is: the servers of databases and of S3, and hosts, which are not started."""

    def __init__(self, ground, server, s3, hosts):
        self.server, self.s3, self.hosts = server, s3, hosts
        self.diary, self.told, self._ends = (ground / name for name in ("diary", "trials", "ends"))
        self.robbed = []  # living processes whose trials others took away
        self.stopped = set()  # processes that were stopped for long

    def ask(self, query):
        """Return the first column of what the database answers; nothing where it is away."""
        engine = sqlalchemy.create_engine(self.server.url, poolclass=sqlalchemy.NullPool)
        away = sqlalchemy.exc.OperationalError, sqlalchemy.exc.ProgrammingError  # or without tables
        with suppress(*away), engine.connect() as connection:
            return list(connection.exec_driver_sql(query).scalars())
        return []

    def ends_of_searches(self):
        """Return for each search that ended by itself its host and how."""
        lines = self._ends.read_text().splitlines() if self._ends.exists() else []
        return [(host, how) for host, how in map(json.loads, lines)]


@contextmanager
def land(ground, names, n_trials):
    """Give servers and hosts, of which nothing is left in the end."""
    with ExitStack() as stack:
        server = stack.enter_context(own_server())
        s3 = stack.enter_context(s3_server())
        hosts = []
        for name in names:
            (ground / name).mkdir()
            stack.enter_context(small_disk(ground / name / "disk", DISK))
            database, store = (stack.enter_context(Gate(url)) for url in (server.url, s3.url))
            hosts.append(Host(name, ground, database, store, n_trials))
            stack.callback(hosts[-1].kill)
        yield Land(ground, server, s3, hosts)
