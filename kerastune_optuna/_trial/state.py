"""What the evaluation of a model depends on: its weights, and its seed generators' states."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
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


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model's state, in their order."""
    return [*model.weights, *_generators(model)]


def write(path: Path, state: Iterable[keras.Variable | NDArray[Any]]) -> None:
    """Write arrays, or the values of variables, into a file, one after the other.

    Keras's own files hold what a model is to predict with: for layers with LoRA that is one matrix,
    from which no training could go on.
    """
    with zipfile.ZipFile(path, "w") as file:
        for number, one in enumerate(state):
            array = keras.ops.convert_to_numpy(one)
            # NumPy's files have no bfloat16, of kind "V"; float32 holds each of its values.
            array = array.astype("float32") if array.dtype.kind == "V" else array
            with file.open(f"{number}.npy", "w", force_zip64=True) as place:
                np.lib.format.write_array(place, array, allow_pickle=False)


def read(path: Path) -> State:
    """Return the arrays in such a file."""
    with np.load(path) as file:
        return list(file.values())


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
