"""A safe version of Optuna's journal file: a line that was only partly written is removed."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from kerastune_optuna import _optuna


def make_safe(storage: BaseStorage) -> None:
    """Let a journal file survive a full disk and a power cut; leave other storages alone.

    Optuna appends to the file even if it ends in half a line. Then the lines of every later writer
    are lost, and every reader fails.
    """
    backend = _optuna.backend_of(storage)
    if isinstance(storage, JournalStorage) and isinstance(backend, JournalFileBackend):
        # Only the method of this object is replaced, since the user created it.
        backend.append_logs = functools.partial(_append, backend)  # type: ignore[method-assign]
        _append(backend, [])


def _append(backend: JournalFileBackend, logs: Sequence[dict[str, Any]]) -> None:
    """Append lines to the file, all or none of them."""
    lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
    lock = _optuna.lock_of(backend)
    lock.acquire()
    try:
        with open(_optuna.file_of(backend), "r+b", buffering=0, opener=_appending) as file:
            _cut_half_line(file)
            _write(file, lines)
    finally:
        # Optuna lets other processes take the lock over from one that seems to hang. The lines are
        # written anyway.
        with suppress(RuntimeError):
            lock.release()


def _appending(path: str, flags: int) -> int:
    """Open a file so that the system itself appends at its end."""
    # Another process may have taken the lock over, and appended since this one looked for the end.
    return os.open(path, flags | os.O_APPEND)


def _write(file: IO[bytes], lines: bytes) -> None:
    written = 0
    try:
        written = file.write(lines)
        if written != len(lines):
            raise OSError(f"only a part of a line could be written to {file.name!r}")
        os.fsync(file.fileno())
    except OSError:
        _cut_off(file, file.tell() - written, lines[:written])
        raise


def _cut_half_line(file: IO[bytes]) -> None:
    """Cut off half a line at the end, which a power cut or a kill may have left."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        file.seek(end - 1)
        if file.read(1) == b"\n":
            break
        end -= 1
    _cut_off(file, end, file.read())


def _cut_off(file: IO[bytes], start: int, rest: bytes) -> None:
    """Cut off the rest of the file, unless others have appended to it meanwhile."""
    file.seek(start)
    if rest and file.read() == rest:
        file.truncate(start)
