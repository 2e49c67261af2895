"""Warnings of a search: each process shows one once, whichever trial gives it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TENSORFLOW = logging.getLogger("tensorflow")


@contextmanager
def shown_once() -> Iterator[None]:
    """Show no warning a second time while the block runs.

    Python forgets what it has shown whenever any library touches the filters, which Keras, Optuna
    and NumPy do in each trial. TensorFlow warns of functions that it traces anew. That warning is
    not shown at all: each trial has a model of its own, whose functions must be traced.
    """
    seen: set[str] = set()
    show, is_over = warnings.showwarning, False

    def show_first(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        text = f"{filename}:{lineno}: {category.__name__}: {message}"
        # A search in another thread that began later may put this function back when it ends.
        if is_over or text not in seen:
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
