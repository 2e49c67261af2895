"""Let each training begin with the user's PyDatasets and generators as the search got them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import keras
import numpy as np

from kerastune_optuna import _check, _source
from kerastune_optuna._backend import undisturbed

First: TypeAlias = dict[int, tuple[Any, Any]]  # objects, held so that their ids stay, and states

_LARGEST = 64e6  # bytes: a larger array of a PyDataset is not copied
_seen: First = {}


def restore_generators(function: Callable[..., Any]) -> set[int]:
    """Set the generators that a function reads to the states that they had when it was first seen.

    Returns:
        The ids of the variables that hold the states of Keras's generators.
    """
    values = [one for one in _source.values(function) if not isinstance(one, keras.Layer)]
    _restore(values, _seen)
    return {id(state) for one in values for state in _states_of(one)}


class Beginning:
    """Hold the states of PyDatasets in which each training is to find them.

    Keras lets a PyDataset change itself, as by a shuffle in `on_epoch_end`. The datasets stay the
    same objects, since callbacks may know them.

    Args:
        datasets: The datasets by the names of their arguments.
    """

    def __init__(self, datasets: Mapping[str, Any]) -> None:
        self._datasets, self._as_given = datasets, None
        self._first: First = {}
        self._restore_generators()  # which notes their states
        try:
            self._as_given = self._copied(datasets)
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
            _restore([*_source.values(type(one)), *vars(one).values()], self._first)

    def _copied(self, datasets: Mapping[str, Any]) -> dict[str, Any]:
        """Return copies of the datasets, which share large arrays and the parts of Keras."""
        held = [one for data in datasets.values() for one in vars(data).values()]
        shared = {id(one): one for one in held if _is_shared(one)}
        with undisturbed():
            return copy.deepcopy(dict(datasets), shared)


def _restore(values: Iterable[Any], first: First) -> None:
    """Set generators to the states that they had first; note those of others."""
    for one in values:
        if isinstance(one, np.random.Generator):
            own = one.bit_generator
            own.state = first.setdefault(id(own), (own, own.state))[1]
        for state in _states_of(one):
            value = keras.ops.convert_to_numpy(state)
            state.assign(first.setdefault(id(state), (state, value))[1])


def _states_of(one: Any) -> list[Any]:
    """Return the variables of Keras's generators in a value."""
    if isinstance(one, keras.random.SeedGenerator):
        return [one.state]
    variables = one.variables if isinstance(one, keras.Layer) else []
    return [each for each in variables if each.path.endswith("seed_generator_state")]


def _is_shared(one: Any) -> bool:
    is_of_keras = isinstance(one, keras.Layer | keras.random.SeedGenerator)
    return is_of_keras or getattr(one, "nbytes", 0) > _LARGEST
