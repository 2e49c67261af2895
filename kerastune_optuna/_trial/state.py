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

from kerastune_optuna._backend import layers_within
from kerastune_optuna._trial.variables import optimizers

State: TypeAlias = Sequence[NDArray[Any]]  # the weights, followed by the states of generators

_PLACE = "kerastune_optuna:variables"  # the group of a weights file for what Keras leaves out


def give_back(model: keras.Model, state: State) -> None:
    """Set a model to an earlier state; a state without generators leaves those as they are.

    Raises:
        ValueError: The state is that of another model.
    """
    variables, n = variables_of(model), len(model.weights)
    if len(state) not in (n, len(variables)):
        raise ValueError(
            f"a state of {len(state)} arrays is not that of {len(variables)} variables"
        )
    model.set_weights(list(state[:n]))
    for variable, value in zip(variables[n:], state[n:], strict=False):
        variable.assign(value)


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model's state, in the order of the state."""
    return [*model.weights, *generators_of(model)]


def size_of(model: keras.Model) -> int:
    """Return how many bytes the weights of a model take."""
    return sum(weight.size * weight.itemsize for weight in model.get_weights())


def write(path: Path, state: Iterable[keras.Variable | NDArray[Any]]) -> None:
    """Write arrays or the values of variables to a file, one at a time."""
    with zipfile.ZipFile(path, "w") as file:
        for number, one in enumerate(state):
            with file.open(f"{number}.npy", "w", force_zip64=True) as place:
                np.lib.format.write_array(place, _array(one), allow_pickle=False)


def read(path: Path) -> State:
    """Return the arrays in a file that `write` wrote."""
    with np.load(path) as file:
        return list(file.values())


def save(path: Path, model: keras.Model) -> None:
    """Save a model's weights, the states of its generators, and its LoRA weights as they are.

    Keras saves the sum of a kernel and its LoRA product instead. If the kernel is quantized, it
    rounds the sum, so the loaded model would evaluate to another value.

    The optimizers' states are not saved: they belong to the last epoch and would triple the file
    size.
    """
    layers = _layers_with_lora(model)
    for layer in layers:
        layer.lora_enabled = False
    try:
        keras.saving.save_weights(model, path, objects_to_skip=optimizers(model))
    finally:
        for layer in layers:
            layer.lora_enabled = True
    with h5py.File(path, "a") as file:
        for number, array in enumerate(map(_array, _unsaved(model))):
            file[f"{_PLACE}/{number}"] = array


def load(path: Path, model: keras.Model) -> None:
    """Load a file that `save` wrote into a model."""
    keras.saving.load_weights(model, path, objects_to_skip=optimizers(model))
    with h5py.File(path, "r") as file:
        saved = file.get(_PLACE, {})
        # A builder that has changed may return a model with more or fewer generators.
        for number, variable in enumerate(_unsaved(model)[: len(saved)]):
            variable.assign(saved[str(number)][()])


def generators_of(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that are not weights: the states of its generators."""
    weights = set(map(id, model.weights))
    return [variable for variable in model.variables if id(variable) not in weights]


def _unsaved(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that Keras does not save as they are."""
    layers = _layers_with_lora(model)
    weights = (weight for layer in layers for weight in layer.weights)
    return [*generators_of(model), *(one for one in weights if one.name.startswith("lora_"))]


def _layers_with_lora(model: keras.Model) -> list[keras.Layer]:
    return [one for one in layers_within(model) if getattr(one, "lora_enabled", False)]


def _array(value: keras.Variable | NDArray[Any]) -> NDArray[Any]:
    """Return a value as an array that NumPy and HDF5 files can store."""
    array: NDArray[Any] = keras.ops.convert_to_numpy(value)
    # NumPy's files cannot store bfloat16 (kind "V"), but float32 can represent all its values.
    return array.astype("float32") if array.dtype.kind == "V" else array
