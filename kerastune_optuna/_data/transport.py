"""How data is sent to other processes: arrays in files, datasets as graphs, the rest pickled."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import batch_size_of
from kerastune_optuna._data import datasets
from kerastune_optuna._data.sources import is_tf_dataset
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._scratch import open_private

_SMALL = 1 << 16  # bytes below which writing an array to its own file does not pay off
_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_LARGEST_GRAPH = 2**31 - 1  # the most bytes that a protocol buffer may have


@dataclasses.dataclass(frozen=True)
class Parcel:
    """Represent data in another process by a function that makes the data, and its arguments."""

    function: Callable[..., Any]
    contents: tuple[Any, ...]


def pack(name: str, data: Any, folder: Path | None) -> Any:
    """Return data packed for other processes.

    Args:
        name: The name of the data in Model.fit.
        data: The data.
        folder: The folder to which arrays are written for workers on this machine; None to pickle
            them for workers elsewhere.

    Raises:
        ArgumentError: A dataset cannot be sent to other processes.
    """
    if is_tf_dataset(data):
        return _as_graph(name, data)
    if isinstance(data, tuple | list | Mapping):
        packed = keras.tree.map_structure(lambda leaf: _pack_leaf(leaf, folder), data)
        return Parcel(keras.tree.map_structure, (open_parcel, packed))
    return _pack_leaf(data, folder)


def open_parcel(source: Any) -> Any:
    """Return the data of a parcel; return anything else unchanged."""
    return source.function(*source.contents) if isinstance(source, Parcel) else source


def _pack_leaf(leaf: Any, folder: Path | None) -> Any:
    """Return an array in a file if it is large, and anything else as it can be pickled."""
    is_tensor = type(leaf).__module__.startswith("tensorflow.") and hasattr(leaf, "numpy")
    # NumPy would represent strings and ragged rows as objects, which Keras does not accept.
    if is_tensor and not hasattr(leaf, "row_splits") and leaf.dtype.name != "string":
        leaf = leaf.numpy()
    is_large = isinstance(leaf, np.ndarray) and leaf.nbytes >= _SMALL and not leaf.dtype.hasobject
    if folder is None or not is_large:
        return leaf
    path = folder / f"{uuid.uuid4().hex}.npy"
    with open_private(path) as file:
        np.save(file, leaf)
    return Parcel(np.load, (str(path), "r"))  # memory-mapped by all workers on this machine


def _as_graph(name: str, dataset: Any) -> Parcel:
    import tensorflow as tf  # installed, since the data is TensorFlow's

    try:
        graph = datasets.serialize(dataset)
    except (tf.errors.OpError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise _cannot_travel(name, f"its graph cannot be written ({reason})") from error
    if len(graph) > _LARGEST_GRAPH:
        raise _cannot_travel(name, f"it holds {len(graph) / 1e9:.1f} GB of data in its graph")
    nodes = datasets.nodes_of(datasets.parse(graph))
    if used := _PYTHON_OPS.intersection(node.op for node in nodes):
        raise _cannot_travel(name, f"it calls Python through {', '.join(sorted(used))}")
    return Parcel(datasets.rebuild, (graph, dataset.element_spec, batch_size_of(dataset)))


def _cannot_travel(name: str, why: str) -> ArgumentError:
    return ArgumentError(
        f"{name} is a tf.data.Dataset that cannot travel to other workers: {why}. Pass a function "
        f"without arguments that creates it: {name}=lambda: ..."
    )
