"""Set the user's random generators back to the states that they had when they were first seen."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import keras
import numpy as np

from kerastune_optuna import _digest

First: TypeAlias = dict[int, tuple[Any, Any]]  # objects, held so that their ids stay, and states

_seen: First = {}


@contextmanager
def borrowed(*functions: Callable[..., Any], of_keras: bool = True) -> Iterator[None]:
    """Let a block call functions as trials do, then give their generators back as they were before.

    A script draws from them for itself, too, and has a dtype policy of its own.

    Args:
        functions: The functions, which the block may call.
        of_keras: Whether Keras's generators are given back, which a model that the block returns
            may hold.
    """
    read = _digest.read_by(*functions)
    held = keras.Layer if of_keras else keras.Layer | keras.random.SeedGenerator
    own = [one for one in read if not isinstance(one, held)]
    before: First = {}
    restore(own, before)  # which notes their states
    policy = keras.config.dtype_policy()  # a builder may set one for its own models
    restore_read(read)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        restore(own, before)


def restore_read(read: Iterable[Any]) -> set[int]:
    """Set back the generators among the values that functions read.

    Returns:
        The ids of the variables that hold the states of Keras's generators.
    """
    return restore([one for one in read if not isinstance(one, keras.Layer)], _seen)


def restore(values: Iterable[Any], first: First) -> set[int]:
    """Set generators to the states that they had first; note those of others.

    Returns:
        The ids of the variables that hold the states of Keras's generators.
    """
    states: list[Any] = []
    for value in values:
        if isinstance(value, np.random.Generator):
            own = value.bit_generator
            own.state = first.setdefault(id(own), (own, own.state))[1]
        elif isinstance(value, np.random.RandomState):
            value.set_state(first.setdefault(id(value), (value, value.get_state()))[1])
        elif type(value) is random.Random:  # a SystemRandom has no state
            value.setstate(first.setdefault(id(value), (value, value.getstate()))[1])
        elif isinstance(value, keras.random.SeedGenerator):
            states.append(value.state)
        elif isinstance(value, keras.Layer):
            own = value.variables
            states += [one for one in own if one.path.endswith("seed_generator_state")]
    for state in states:
        drawn = keras.ops.convert_to_numpy(state)
        state.assign(first.setdefault(id(state), (state, drawn))[1])
    return {id(state) for state in states}
