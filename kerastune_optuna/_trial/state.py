"""What the evaluation of a model depends on: its weights, and where its seed generators stand."""

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
    """Return where the seed generators of a model stand, from which layers draw that sample."""
    return [keras.ops.convert_to_numpy(variable) for variable in _generators(model)]


def give_back(model: keras.Model, state: State) -> None:
    """Give a model a state that it had; one without generators leaves those as they are."""
    n = len(model.weights)
    model.set_weights(list(state[:n]))
    _set_generators(model, state[n:])


def put(path: Path, model: keras.Model) -> None:
    """Write where the generators of a model stand into its file of weights, as Keras does not."""
    if state := state_of_generators(model):
        with h5py.File(path, "a") as file:
            file.attrs[_PLACE] = np.stack(state)


def take(path: Path, model: keras.Model) -> None:
    """Let the generators of a model stand where they stood when the file was written."""
    with h5py.File(path, "r") as file:
        _set_generators(model, list(file.attrs.get(_PLACE, ())))


def _set_generators(model: keras.Model, state: State) -> None:
    # A builder that changed may have more of them or fewer.
    for variable, value in zip(_generators(model), state, strict=False):
        variable.assign(value)


def _generators(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that are no weights, which are those of its generators."""
    weights = set(map(id, model.weights))
    return [variable for variable in model.variables if id(variable) not in weights]
