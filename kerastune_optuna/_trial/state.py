"""What the evaluation of a model depends on: its weights, and its seed generators' states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

State: TypeAlias = Sequence[NDArray[Any]]  # the weights, and after them the states of generators

_PLACE = "kerastune_optuna:seed_generators"  # the attribute of a file of weights that holds these


def state_of_generators(model: keras.Model) -> State:
    """Return the states of a model's seed generators, from which layers that sample draw."""
    return [keras.ops.convert_to_numpy(variable) for variable in _generators(model)]


def give_back(model: keras.Model, state: State) -> None:
    """Give a model a state that it had; a state without generators leaves those as they are."""
    n = len(model.weights)
    model.set_weights(list(state[:n]))
    set_generators(model, state[n:])


def put(path: Path, model: keras.Model) -> None:
    """Write the states of a model's generators into its file of weights, which Keras does not."""
    if state := state_of_generators(model):
        with h5py.File(path, "a") as file:
            file.attrs[_PLACE] = np.stack(state)


def take(path: Path, model: keras.Model) -> None:
    """Give the generators of a model the states that its file of weights holds."""
    with h5py.File(path, "r") as file:
        set_generators(model, list(file.attrs.get(_PLACE, ())))


def set_generators(model: keras.Model, state: State) -> None:
    """Give the generators of a model the states that they had."""
    # A builder that has changed may make a model with more generators, or fewer.
    for variable, value in zip(_generators(model), state, strict=False):
        variable.assign(value)


def _generators(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that are no weights, which are those of its generators."""
    weights = set(map(id, model.weights))
    return [variable for variable in model.variables if id(variable) not in weights]
