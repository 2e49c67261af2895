"""Let each training begin with the user's PyDatasets as the search got them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from kerastune_optuna import _check, _generators, _source
from kerastune_optuna._backend import undisturbed

_LARGEST = 64e6  # bytes: a larger array of a PyDataset is not copied


class Beginning:
    """Hold the states of PyDatasets in which each training is to find them.

    Keras lets a PyDataset change itself, as by a shuffle in `on_epoch_end`. The datasets stay the
    same objects, since callbacks may know them.

    Args:
        datasets: The datasets by the names of their arguments.
    """

    def __init__(self, datasets: Mapping[str, Any]) -> None:
        self._datasets, self._as_given = datasets, None
        self._first: _generators.First = {}
        self._restore_generators()  # which notes their states
        try:
            self._as_given = self._copied(datasets) if datasets else None
        except Exception as error:  # a dataset may hold anything, so copying may raise anything
            names, kind = " and ".join(datasets), type(next(iter(datasets.values()))).__name__
            _check.warn(
                f"{names} is a {kind} that cannot be copied ({type(error).__name__}: {error}). If "
                "it changes while it is read, as by a shuffle in on_epoch_end(), a trial depends "
                f"on those before it. Pass a function instead: {names}=lambda trial: {kind}(...)."
            )

    @contextmanager
    def of_training(self) -> Iterator[None]:
        """Restore the datasets for the training in a block, and after it for the user."""
        self._restore()
        try:
            yield
        finally:
            self._restore()

    def skip(self, epochs: int) -> None:
        """Let the datasets change as in some epochs, which an earlier process has trained."""
        for _ in range(epochs):
            for one in self._datasets.values():
                one.on_epoch_begin()
                one.on_epoch_end()

    def _restore(self) -> None:
        self._restore_generators()
        if self._as_given is not None:
            copies = self._copied(self._as_given)
            for name, one in self._datasets.items():
                one.__dict__ = vars(copies[name])

    def _restore_generators(self) -> None:
        for one in self._datasets.values():
            _generators.restore([*_source.values(type(one)), *vars(one).values()], self._first)

    def _copied(self, datasets: Mapping[str, Any]) -> dict[str, Any]:
        """Return copies of the datasets, which share large arrays and the parts of Keras."""
        held = [one for data in datasets.values() for one in vars(data).values()]
        shared = {id(one): one for one in held if _is_shared(one)}
        with undisturbed():
            return copy.deepcopy(dict(datasets), shared)


def _is_shared(one: Any) -> bool:
    is_of_keras = isinstance(one, keras.Layer | keras.random.SeedGenerator)
    return is_of_keras or getattr(one, "nbytes", 0) > _LARGEST
