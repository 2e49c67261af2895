"""Warnings of a search: each process shows a warning once, whichever trial issues it."""

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

    Python forgets which warnings it has shown whenever a library changes the filters, and Keras,
    Optuna and NumPy do so in each trial. TensorFlow's warning about retracing functions is not
    shown at all: each trial has another model, whose functions have to be traced.
    """
    seen: set[str] = set()
    show, is_over = warnings.showwarning, False

    def show_first(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        text = f"{filename}:{lineno}: {category.__name__}: {message}"
        # A search in another thread that began later may restore this function when it ends.
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
    """Whether a message of TensorFlow's is to be shown."""
    return "triggered tf.function retracing" not in record.getMessage()
