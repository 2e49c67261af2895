"""Let each training begin with the user's PyDatasets as the search got them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kerastune_optuna import _check, _digest, _generators
from kerastune_optuna._backend import undisturbed

_LARGEST = 64e6  # bytes that are copied of a dataset; what takes more is shared
_LONGEST = 10_000  # items of a list; those of a longer one are shared
_LOOKED_AT = 256  # values at either end of a shared array
_OF_KERAS = (keras.Layer, keras.random.SeedGenerator)


class Beginning:
    """Hold the states of PyDatasets in which each training is to find them.

    Keras lets a PyDataset change itself, as by a shuffle in `on_epoch_end`. The datasets stay the
    same objects, since callbacks may know them; what they hold is replaced by copies.

    Args:
        datasets: The datasets by the names of their arguments.
    """

    def __init__(self, datasets: Mapping[str, Any]) -> None:
        self._datasets = datasets
        self._states: dict[str, dict[str, Any]] = {}
        self._ends: dict[str, list[tuple[np.ndarray, bytes]]] = {}  # of shared arrays
        # What draws, and copies share: what the classes read, and generators of Keras.
        self._drawing = [part for one in datasets.values() for part in _digest.read_by(type(one))]
        self._first: _generators.First = {}
        for name, dataset in datasets.items():
            try:
                self._states[name], shared = _copied(vars(dataset))
            except Exception as error:  # a dataset may hold anything, so copying may raise anything
                self._warn(name, f"cannot be copied ({type(error).__name__}: {error}). If it")
            else:
                arrays = [part for part in shared if isinstance(part, np.ndarray)]
                self._ends[name] = [(array, _ends(array)) for array in arrays]
                self._drawing += [part for part in shared if isinstance(part, _OF_KERAS)]
        _generators.restore(self._drawing, self._first)  # which notes their states

    @contextmanager
    def of_training(self) -> Iterator[None]:
        """Restore the datasets for the training in a block, and after it for the user."""
        self._restore()  # a check of the search may have read a batch
        try:
            yield
        finally:
            self._restore()

    def skip(self, epochs: Iterable[bool]) -> None:
        """Let the datasets change as in some epochs, which an earlier process has trained.

        Args:
            epochs: For each of them, whether Keras evaluates the validation data after it.
        """
        for is_evaluated in epochs:
            for name, dataset in self._datasets.items():
                if name == "validation_data":
                    if not is_evaluated:
                        continue
                    dataset.on_epoch_end()  # Keras ends an epoch before each evaluation
                dataset.on_epoch_begin()
                dataset.on_epoch_end()

    def _restore(self) -> None:
        _generators.restore(self._drawing, self._first)
        for name, state in self._states.items():
            self._datasets[name].__dict__, _ = _copied(state)
            if any(_ends(array) != ends for array, ends in self._ends[name]):
                self._ends[name] = []  # told once
                self._warn(name, "holds a large array, which is not copied. If this")

    def _warn(self, name: str, why: str) -> None:
        kind = type(self._datasets[name]).__name__
        _check.warn(
            f"{name} is a {kind} that {why} changes while it is read, as by a shuffle in "
            "on_epoch_end(), a trial depends on those before it. Pass a function instead: "
            f"{name}=lambda trial: {kind}(...)."
        )


def _copied(state: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return a copy of a dataset's attributes, and the objects that it shares with them."""
    memo: dict[int, Any] = {}
    seen: set[int] = set()
    room = _LARGEST

    def look_at(one: Any) -> None:
        nonlocal room
        size = max(getattr(one, "nbytes", 0), sys.getsizeof(one))
        if isinstance(one, _OF_KERAS) or size > room:
            memo[id(one)] = one
        elif isinstance(one, list) and len(one) > _LONGEST:
            memo[id(one)] = one.copy()  # so that a shuffle of files is undone
        elif id(one) not in seen:
            seen.add(id(one))
            room -= size
            for part in _held(one):
                look_at(part)

    look_at(state)
    shared = list(memo.values())
    with undisturbed():
        return copy.deepcopy(state, memo), shared


def _held(one: Any) -> Iterable[Any]:
    """Return what a container or an object of a user's class holds."""
    if isinstance(one, dict):
        return one.values()
    if isinstance(one, list | tuple):
        return one
    is_of_python = type(one).__module__ == "builtins"  # functions and modules have __dict__, too
    return () if is_of_python else getattr(one, "__dict__", {}).values()


def _ends(array: np.ndarray) -> bytes:
    """Return the values at both ends of an array, which a shuffle hardly leaves there."""
    return array.flat[:_LOOKED_AT].tobytes() + array.flat[-_LOOKED_AT:].tobytes()
