"""A safe version of Optuna's journal file: a line that was only partly written is removed."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from optuna.storages import BaseStorage

from kerastune_optuna import _optuna


def make_safe(storage: BaseStorage) -> None:
    """Let a journal file survive kills, a full disk and a power cut; leave other storages alone.

    Raises:
        FileNotFoundError: The file is gone, which nobody waits for here.
    """
    if (backend := _optuna.wrap_lock(storage, _Lock)) is not None:
        next(backend.read_logs(0), None)


@dataclass
class _Lock:
    """A lock of a journal file that cuts off half a line before anybody writes another one.

    Optuna appends to the file even if it ends in half a line. Then the lines of every later writer
    are lost, and every reader fails.

    Args:
        path: The path of the file.
        chosen: The lock that the user chose.
    """

    path: str
    chosen: Any

    def acquire(self) -> bool:
        """Take the lock, and cut off half a line."""
        self.chosen.acquire()
        with ExitStack() as undo:
            undo.callback(self.release)
            with open(self.path, "r+b") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":
                        file.seek(0)
                        file.truncate(file.read().rfind(b"\n") + 1)
            undo.pop_all()
        return True

    def release(self) -> None:
        """Give the lock back."""
        # Optuna lets other processes take the lock over from one that seems to hang. What that one
        # writes is written anyway.
        with suppress(RuntimeError):
            self.chosen.release()
