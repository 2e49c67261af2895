"""Temporary folders of a process, which are removed once it has ended, however it ended.

Each is a single folder without subfolders, because some filesystems take milliseconds to remove a
folder. The process holds a lock on a file next to the folder, and the system releases the lock when
the process ends. So another process can tell which folders a killed process left behind, even in
another container or after a reboot, where process ids mean nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kerastune_optuna._exceptions import StorageError, TunerError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_PREFIX = "kerastune_optuna_"
_LOCK = ".lock"  # the suffix of the locked file; the folder has the rest of its name
# Symbolic links are not followed: any user may put one into the system's temporary folder.
_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_held: set[int] = set()  # the descriptors of the locks that this process holds


class ScratchError(StorageError):
    """Signal that a temporary folder cannot be used, whatever is trained."""


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder that no other user can read, and remove it after the block.

    Args:
        parent: Where to make it; None for the system's temporary folder.
    """
    with needed(parent):
        place, lock = _make(parent)
    try:
        yield place
    finally:
        if lock in _held:  # in a forked child it is not: the parent removes the folder
            _held.discard(lock)
            _remove(place, lock)


@contextmanager
def needed(parent: Path | None = None) -> Iterator[None]:
    """Turn an error of the system within a block into one that names where temporary folders are.

    Args:
        parent: The place; None for the system's temporary folder.

    Raises:
        ScratchError: The folder cannot be used.
    """
    try:
        yield
    except TunerError:
        raise
    except OSError as error:
        place = parent or tempfile.tempdir  # None if Python finds no folder that it can use
        named = "" if place is None else f" {str(place)!r}"
        instead = "let the environment variable TMPDIR name another folder"
        raise ScratchError(
            f"The temporary folder{named} cannot be used: {error.strerror or error}. Make room "
            f"there, or {'pass another directory=' if parent else instead}, and call this again."
        ) from error


def sweep(parent: Path | None = None) -> None:
    """Remove the folders of processes that have ended.

    Args:
        parent: Where the folders were made; None for the system's temporary folder.
    """
    try:
        place = Path(parent or tempfile.gettempdir())
    except FileNotFoundError:  # Python finds no folder that it can use, as scratch() will say
        return
    for name in place.glob(f"{_PREFIX}*{_LOCK}"):
        with suppress(OSError):  # it may be another user's
            lock = os.open(name, _OPEN)
            if _take(lock):
                _remove(name.with_suffix(""), lock)
            else:
                os.close(lock)


def open_private(path: Path) -> BinaryIO:
    """Create a file that no other user can read, whatever the umask is, and open it."""
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _make(parent: Path | None) -> tuple[Path, int]:
    """Make a lock and then its folder; return the folder and the descriptor of the lock."""
    while True:
        lock, name = tempfile.mkstemp(_LOCK, _PREFIX, parent)
        # Until we hold the lock, another process's sweep() may think that it was left behind.
        if _take(lock) is not False and os.path.exists(name):
            place = Path(name).with_suffix("")
            try:
                place.mkdir(0o700)
            except OSError:
                _remove(place, lock)
                raise
            _held.add(lock)
            return place, lock
        os.close(lock)


def _take(lock: int) -> bool | None:
    """Take the lock; return whether that worked, or None if the filesystem has no locks."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # Windows raises PermissionError
        return False
    except OSError:
        return None
    return True


def _remove(place: Path, lock: int) -> None:
    """Remove a folder whose lock this process holds, and the lock last, for a later sweep()."""
    name = place.with_suffix(_LOCK)
    with suppress(OSError):  # others may still write into the folder: a later sweep() removes it
        if place.exists():
            shutil.rmtree(place)
        name.unlink()
    os.close(lock)
    with suppress(OSError):  # Windows and network disks remove no file that is open
        if not place.exists():
            name.unlink(missing_ok=True)


def _let_go() -> None:
    """Close the locks in a forked child: if it outlived its parent, it would keep them locked."""
    for lock in _held:
        os.close(lock)
    _held.clear()


if hasattr(os, "register_at_fork"):  # Windows forks no processes
    os.register_at_fork(after_in_child=_let_go)
