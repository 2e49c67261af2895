"""The hosts of the storm, and the servers that they search with.

A host is a pid, mount and uts namespace: it sees no other's processes, and has a name, a boot id, a
small disk and a wall clock of its own. It shares the network with the others, but reaches the
servers through gates of its own.

Its wall clock is what Python reads. libfaketime would move that of TensorFlow's C++ as well, but
not the kernel's, by which that one waits: a wait for milliseconds then takes the hour of the jump.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.benchmarks._leader import BUCKET, open_bucket
from tests.support.faults import ROOT, CuttingProxy, Server, is_worker, own_server, small_disk

DISK = "32m"
# Preloaded: adds the seconds in a file to the wall clock where it is Python itself that asks.
_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *fast;
static int (*true_clock)(clockid_t, struct timespec *);
static uintptr_t begins[8], ends[8];  // where Python's own code lies
static int n;

static int note(struct dl_phdr_info *loaded, size_t size, void *none) {
    const char *slash = strrchr(loaded->dlpi_name, '/');
    const char *name = slash ? slash + 1 : loaded->dlpi_name;  // the program itself has none
    if (*name && strncmp(name, "libpython", 9)) return 0;
    for (int i = 0; i < loaded->dlpi_phnum && n < 8; i++) {
        const ElfW(Phdr) *part = &loaded->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        begins[n] = loaded->dlpi_addr + part->p_vaddr;
        ends[n] = begins[n] + part->p_memsz;
        n++;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("STORM_CLOCK"), O_RDONLY);
    void *at = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    true_clock = dlsym(RTLD_NEXT, "clock_gettime");
    dl_iterate_phdr(note, 0);
    if (at != MAP_FAILED) fast = at;
    close(file);
}

static long fast_for(void *caller) {
    uintptr_t at = (uintptr_t)caller;
    for (int i = 0; fast && i < n; i++)
        if (begins[i] <= at && at < ends[i]) return *fast;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = true_clock ? true_clock(clock, now) : syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += fast_for(__builtin_return_address(0));
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += fast_for(__builtin_return_address(0));
    return at ? (*at = now.tv_sec) : now.tv_sec;
}
"""
_BTIME = re.compile(r"^btime (\d+)", re.MULTILINE)
_PATIENCE = 30  # seconds in which the S3 server must answer
_ENTER = "unshare --pid --fork --kill-child --mount --uts --mount-proc".split()
# The first process of a host, which starts the search again whenever it broke off, as systemd does.
# When it booted moves with its wall clock, as it does in the kernel: that is a line of /proc/stat.
_INIT = """
hostname "$STORM_HOST" || exit
mount --bind "$STORM_FILES/stat" /proc/stat || exit
mount --bind "$STORM_FILES/boot_id" /proc/sys/kernel/random/boot_id || exit
cd "$STORM_FILES/disk" || exit
leader='from tests.benchmarks._leader import main; main()'
clock="$STORM_FILES/../clock.so"
until LD_PRELOAD="$clock" "$STORM_PYTHON" -c "$leader" "$STORM_SEARCH"; do sleep 3; done
touch "$STORM_FILES/done"
exec sleep infinity
"""


class Gate(CuttingProxy):
    """A way to a server that can be shut: then each message cuts its connection, and none opens."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_shut = False

    def shut(self) -> None:
        """Cut all off and refuse connections from now on."""
        self.is_shut = True
        self.cuts_here = iter(lambda: True, None)

    def open(self) -> None:
        """Let everything through from now on."""
        self.pass_on()
        self.is_shut = False

    def _accept(self) -> bool:
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
    """A machine that searches until the study is full.

    Args:
        name: Its host name.
        ground: A folder on a disk that does not fill up.
        database: Its gate to the database.
        store: Its gate to the S3 server.
        n_trials: The size of the study.
    """

    def __init__(self, name: str, ground: Path, database: Gate, store: Gate, n_trials: int) -> None:
        self.name, self.database, self.store = name, database, store
        self.boots = 0
        self.folder = ground / name
        self.disk = self.folder / "disk"
        self._ballast = self.disk / "ballast"
        self._process: subprocess.Popen[bytes] | None = None
        self._search = {
            "database": database.url,
            "endpoint": store.url,
            "n_trials": n_trials,
            "diary": str(ground / "diary"),
            "ends": str(ground / "ends"),
        }
        self._stat = Path("/proc/stat").read_text()
        self.set_clock(0)

    def start(self) -> None:
        """Boot: begin the search."""
        self.boots += 1
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*_ENTER, "bash", "-c", _INIT],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        (self.disk / "tmp").mkdir(exist_ok=True)
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONFAULTHANDLER": "1",  # whoever hangs can be asked where
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TMPDIR": str(self.disk / "tmp"),
            "STORM_CLOCK": str(self.folder / "clock"),
            "STORM_HOST": self.name,
            "STORM_BOOT": str(self.boots),
            "STORM_FILES": str(self.folder),
            "STORM_PYTHON": sys.executable,
            "STORM_SEARCH": json.dumps(self._search),
        }

    def kill(self) -> None:
        """End all of its processes at once, as a power cut does; its disk stays."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            for first in psutil.Process(self._process.pid).children():
                first.kill()  # with which the kernel ends the others
        self._process.wait()

    @property
    def is_done(self) -> bool:
        """Whether its search ended with a full study."""
        return (self.folder / "done").exists()

    def processes(self) -> list[psutil.Process]:
        """Return its processes of Python."""
        with suppress(psutil.NoSuchProcess):
            if self._process is not None:
                found = psutil.Process(self._process.pid).children(recursive=True)
                return [one for one in found if "python" in _command(one)]
        return []

    def leader(self) -> psutil.Process | None:
        """Return the process that called search(); None where there is none now."""
        return next((one for one in self.processes() if "_leader" in _command(one)), None)

    def workers(self) -> list[psutil.Process]:
        """Return its worker processes."""
        return [one for one in self.processes() if is_worker(one)]

    def identity(self, process: psutil.Process) -> tuple[str, int, int]:
        """Return what the diary calls one of its processes."""
        return self.name, self.boots, pid_inside(process)

    def set_clock(self, seconds: int) -> None:
        """Let its wall clock be so many seconds fast; the monotonic clock goes on."""
        self.seconds_fast = seconds
        _write_in_place(self.folder / "clock", seconds.to_bytes(8, sys.byteorder, signed=True))
        moved = _BTIME.sub(lambda found: f"btime {int(found[1]) + seconds}", self._stat)
        _write_in_place(self.folder / "stat", moved.encode())

    def fill_disk(self) -> None:
        """Leave no room on its disk."""
        with suppress(OSError), open(self._ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free_disk(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def left_on_disk(self) -> list[str]:
        """Return the files on its disk, and the folders in its temporary one."""
        files = [path for path in self.disk.rglob("*") if path.is_file()]
        folders = [path for path in (self.disk / "tmp").glob("*") if path.is_dir()]
        return [f"{self.name}:{path.relative_to(self.disk)}" for path in (*files, *folders)]


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to processes, some of which may be gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def pid_inside(process: psutil.Process) -> int:
    """Return the id that a process of a host has there; 0 where it is gone."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return int(re.search(r"^NSpid:.*\t(\d+)$", status, re.MULTILINE)[1])


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _write_in_place(path: Path, content: bytes) -> None:
    """Write into a file that stays the same one: others have it mounted, or in their memory."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(descriptor, content, 0)
    finally:
        os.close(descriptor)


@contextmanager
def s3_server() -> Iterator[tuple[str, psutil.Process]]:
    """Give the address of an S3 server that has the bucket, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = psutil.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(port)
        endpoint = f"http://127.0.0.1:{port}"
        open_bucket(endpoint).client.create_bucket(Bucket=BUCKET)
        yield endpoint, process
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    gives_up = time.monotonic() + _PATIENCE
    while True:
        with suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        if time.monotonic() > gives_up:
            raise TimeoutError(f"moto's server did not answer in {_PATIENCE} s")
        time.sleep(0.1)


class Land:
    """All that there is: the servers and the hosts.

    Args:
        ground: A folder on a disk that does not fill up.
        server: The database server.
        endpoint: The address of the S3 server.
        s3: Its process.
        hosts: The hosts, which are not started yet.
    """

    def __init__(
        self,
        ground: Path,
        server: Server,
        endpoint: str,
        s3: psutil.Process,
        hosts: Sequence[Host],
    ) -> None:
        self.server, self.endpoint, self.s3, self.hosts = server, endpoint, s3, hosts
        self.diary, self.told = ground / "diary", ground / "trials"
        self._ends = ground / "ends"
        self.robbed: list[str] = []  # living processes whose trials others took away
        self.stopped: set[tuple[str, int, int]] = set()  # processes that were stopped for long

    def ends_of_searches(self) -> list[tuple[str, str]]:
        """Return for each search that ended by itself its host and how."""
        lines = self._ends.read_text().splitlines() if self._ends.exists() else []
        return [(host, how) for host, how in map(json.loads, lines)]


@contextmanager
def land(ground: Path, names: Sequence[str], n_trials: int) -> Iterator[Land]:
    """Give servers and hosts, of which nothing is left in the end."""
    with ExitStack() as stack:
        server = stack.enter_context(own_server())
        endpoint, s3 = stack.enter_context(s3_server())
        build = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", ground / "clock.so", "-ldl"]
        subprocess.run(build, input=_CLOCK, text=True, check=True)
        hosts = []
        for name in names:
            (ground / name).mkdir()
            stack.enter_context(small_disk(ground / name / "disk", DISK))
            database, store = (stack.enter_context(Gate(url)) for url in (server.url, endpoint))
            hosts.append(Host(name, ground, database, store, n_trials))
            stack.callback(hosts[-1].kill)
        yield Land(ground, server, endpoint, s3, hosts)
