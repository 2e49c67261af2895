"""Warnings of a search: each is shown once, whichever trial or process of it gives the warning."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TENSORFLOW = logging.getLogger("tensorflow")


@contextmanager
def shown_once(is_first: Callable[[str], bool] = lambda text: True) -> Iterator[None]:
    """Show no warning a second time while the block runs.

    Python forgets what it has shown whenever any library touches the filters, which Keras, Optuna
    and NumPy do in each trial. TensorFlow warns of functions that it traces anew. That warning is
    not shown at all: each trial has a model of its own, whose functions must be traced.

    Args:
        is_first: Whether a warning, told by its place and text, is new to other processes too.
    """
    seen: set[str] = set()
    show, is_over = warnings.showwarning, False

    def show_first(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        text = f"{filename}:{lineno}: {category.__name__}: {message}"
        # A search in another thread that began later may put this function back when it ends.
        if is_over or (text not in seen and is_first(text)):
            show(message, category, filename, lineno, file, line)
        seen.add(text)

    warnings.showwarning = show_first
    _TENSORFLOW.addFilter(_says_something)
    try:
        yield
    finally:
        is_over = True
        warnings.showwarning = show
        _TENSORFLOW.removeFilter(_says_something)


def _says_something(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


def first_in(folder: Path) -> Callable[[str], bool]:
    """Return a function that says whether a text is new to all processes that share a folder."""

    def is_first(key: str) -> bool:
        mark = folder / f"shown-{hashlib.sha256(key.encode(errors='replace')).hexdigest()}"
        try:
            mark.touch(exist_ok=False)  # atomic: of two processes one makes the file
        except FileExistsError:
            return False
        except OSError:  # the folder is gone, or the disk is full: better shown twice than never
            return True
        return True

    return is_first
