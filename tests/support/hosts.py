"""Another host for tests: a process that sees disks of its own, in a mount namespace."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
_SERVER = "/usr/lib/openssh/sftp-server"
_MOUNTED = {}  # the processes of sshfs and of its server, by the folder
# CI runs as root; a contributor may not, and no other way makes a process another host.
_WHY = "only root may mount disks, which make a process another host"
_IS_ROOT = sys.platform == "linux" and os.geteuid() == 0
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
    if not _IS_ROOT:
        pytest.skip(_WHY)
    return Host()


def _leave_mounts():
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mount_empty(folder):
    """Let another, empty disk be at a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)


@contextmanager
def network_folder(tmp_path):
    """Give a folder on a network filesystem."""
    need_sshfs()
    remote, folder = tmp_path / "remote", tmp_path / "network"
    remote.mkdir()
    folder.mkdir()
    _mount_by_ssh(remote, folder)
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def reached_by_ssh(host, folder):
    """Let a host reach a folder of this one over the network, at the same path."""
    need_sshfs()
    host.do(_mount_over, folder)
    try:
        yield
    finally:
        host.do(_unmount, folder)


def _mount_over(folder):
    """Mount a folder over itself; its server sees what is behind."""
    behind = Path(f"{folder}.behind")
    behind.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(behind)], check=True)
    _mount_by_ssh(behind, folder)


def _mount_by_ssh(remote, folder):
    """Mount a folder with sshfs, whose server runs beside it and ends with it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        _MOUNTED[folder] = [
            subprocess.Popen(
                ["sshfs", f"host:{remote}", str(folder), "-o", "passive", "-f"],
                stdin=ours,
                stdout=ours,
            ),
            subprocess.Popen([_SERVER], stdin=theirs, stdout=theirs),
        ]
    while not os.path.ismount(folder):
        assert _MOUNTED[folder][0].poll() is None


def _unmount(folder):
    """End sshfs, which then takes its mount with it, and its server."""
    for process in _MOUNTED.pop(folder):
        process.terminate()
        process.wait()


def need_sshfs():
    """Skip a test where no network filesystem can be mounted."""
    if not _IS_ROOT or not os.path.exists("/dev/fuse") or not Path(_SERVER).exists():
        pytest.skip("sshfs needs root, /dev/fuse and openssh-sftp-server")
    if shutil.which("sshfs") is None:
        pytest.skip("sshfs is not installed")
