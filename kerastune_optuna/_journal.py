"""Optuna's journal file made safe: a line that could not be written whole does not stay."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from typing import IO, Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file


def make_safe(storage: BaseStorage) -> None:
    """Let a journal file survive a full disk and a power cut; leave other storages alone.

    Optuna appends to the file whatever its end looks like. After half a line every later writer's
    lines are lost, and every reader fails.
    """
    backend = getattr(storage, "_backend", None)
    if isinstance(storage, JournalStorage) and isinstance(backend, JournalFileBackend):
        # Of the instance, which the user made: a class of our own would have to be passed by them.
        backend.append_logs = functools.partial(_append, backend)  # type: ignore[method-assign]
        _append(backend, [])


def _append(backend: JournalFileBackend, logs: Sequence[dict[str, Any]]) -> None:
    """Append lines to the file, all or none of them."""
    lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
    with get_lock_file(backend._lock), open(backend._file_path, "r+b", buffering=0) as file:
        end = _cut_half_line(file)
        try:
            if file.write(lines) != len(lines):
                raise OSError(f"only a part of a line could be written to {backend._file_path!r}")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _cut_half_line(file: IO[bytes]) -> int:
    """Cut off what follows the last whole line; return where the file ends then."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        file.seek(end - 1)
        if file.read(1) == b"\n":
            break
        end -= 1
    file.truncate(end)
    return file.seek(end)
