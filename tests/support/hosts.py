"""Other hosts and their executors for tests: one sees disks of its own, in a mount namespace."""

import ctypes
import multiprocessing
import os
import re
import subprocess
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from kerastune_optuna._storage import disks

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS


def _may_mount():
    """Tell whether Linux gives this process the right to mount, which root in Docker lacks."""
    rights = re.search(r"^CapEff:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return bool(int(rights[1], 16) >> 21 & 1)


# CI runs as root; a contributor may not, and no other way makes a process another host.
_WHY = "only root may mount disks, which may be small or make a process another host"
_IS_ROOT = sys.platform == "linux" and os.geteuid() == 0 and _may_mount()
needs_root = pytest.mark.skipif(not _IS_ROOT, reason=_WHY)
# Forks, signals to other processes, limits of resources, terminals: what Windows lacks.
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such thing")
FORK = multiprocessing.get_context(None if sys.platform == "win32" else "fork")


class Host(ProcessPoolExecutor):
    """Run tasks in a process with mounts of its own, which end with it."""

    def __init__(self):
        spawn = multiprocessing.get_context("spawn")
        super().__init__(1, mp_context=spawn, initializer=_leave_mounts)

    def do(self, function, *arguments):
        """Call a function there, and wait for it."""
        return self.submit(function, *arguments).result()


def new_host():
    """Return a host, where this process may make one."""
    need_root()
    return Host()


def need_root():
    """Skip a test where no disk may be mounted."""
    if not _IS_ROOT:
        pytest.skip(_WHY)


def _leave_mounts():
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mount_empty(folder):
    """Let another, empty disk be at a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)


@contextmanager
def on_network(folder):
    """Let a folder seem to be on a network disk, as the system tells this process."""
    disk = SimpleNamespace(mountpoint=str(folder), fstype="fuse.sshfs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "disk_partitions", lambda **_: [disk])
        disks.network_of.cache_clear()
        yield
    disks.network_of.cache_clear()


class Inline(Executor):
    """Run each task at once, in this process, and count them."""

    tasks = 0

    def submit(self, function, /, *given, **keywords):
        """Return what came of it."""
        self.tasks += 1
        future = Future()
        try:
            future.set_result(function(*given, **keywords))
        except Exception as error:  # as any executor gives back what a task raised
            future.set_exception(error)
        return future
