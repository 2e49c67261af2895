"""Release what a finished trial leaves in the process, and nothing that lived before it."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import keras
import psutil

_SHARE = 0.01  # of the time of a search that goes into collecting garbage
_MOST_GROWN = 256e6  # bytes that a process may grow by before JAX drops what it has compiled
_log = logging.getLogger("kerastune_optuna")


class Memory:
    """Release what the trials of one search leave behind.

    TensorFlow registers the gradient of each traced train step in a registry of the process, under
    a name "CustomGradient-<n>", and never drops it: the entry holds all graphs of the trial for as
    long as the process lives (TensorFlow #97697). No graph but the trial's own asks for it, so the
    names that a trial added go with the trial. What is left are cycles, which Python's collector
    finds.

    JAX keeps what it compiled for each shape that it has seen, some 8 MB for a small model. To drop
    that after each trial would double the time of short ones: it goes when it has grown large.

    Args:
        share: How long collecting garbage may take, as a part of the time between.
    """

    def __init__(self, share: float = _SHARE) -> None:
        self._share = share
        self._registry = _gradients()
        self._next_collection = 0.0
        self._least = _size()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Keep what lives before the search out of the collections, which look at trials alone."""
        if gc.get_freeze_count():  # the user's own doing, which unfreeze() would undo
            yield
            return
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Run one trial, and release what it leaves."""
        before = set(self._registry)
        try:
            yield
        finally:
            for name in set(self._registry) - before:
                if name.startswith("CustomGradient-"):
                    del self._registry[name]
            self._collect()
            if keras.backend.backend() == "jax":
                self._drop_compiled()

    def _collect(self) -> None:
        """Collect garbage, unless the last time is too short ago for what it cost."""
        began = time.perf_counter()
        if began >= self._next_collection:
            gc.collect()
            ended = time.perf_counter()
            self._next_collection = ended + (ended - began) / self._share

    def _drop_compiled(self) -> None:
        """Let JAX compile anew what it will need again, once the process has grown by a lot."""
        if _size() - self._least < _MOST_GROWN:
            return
        import jax  # the backend's own package, which users of others need not have

        jax.clear_caches()
        self._least = _size()


def _size() -> int:
    """Return how many bytes of memory this process has."""
    return int(psutil.Process().memory_info().rss)


def _gradients() -> MutableMapping[str, Any]:
    """Return TensorFlow's registry of gradients; an empty one where it looks different."""
    if keras.backend.backend() != "tensorflow":
        return {}  # which neither JAX nor PyTorch has
    from tensorflow.python.framework import ops  # an optional package to users of other backends

    for name in ("gradient_registry", "_gradient_registry"):
        registry = getattr(getattr(ops, name, None), "_registry", None)
        if isinstance(registry, dict):
            return registry
    _log.debug(
        "This TensorFlow keeps its gradients elsewhere than the versions known: the graphs of "
        "finished trials may stay in memory."
    )
    return {}
