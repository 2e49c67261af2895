"""The sizes of data, as far as they are known: rows, batches, bytes, and shapes of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import batch_size_of
from kerastune_optuna._data.arrays import pick
from kerastune_optuna._data.sources import OF_GRAIN, classes, makes_batches

INFINITE = -1  # the size of endless data
UNKNOWN = -2  # the cardinality of a tf.data.Dataset that does not tell whether it ends, and when
_ENDLESS = 1 << 40  # rows or batches; an endless repeat() of Grain has a length of sys.maxsize
_NEST, _LEAF = "nest", "leaf"  # the first items of lists in the JSON-serializable form of a batch


def size_of(data: Any) -> int | None:
    """Return the number of rows or batches; INFINITE if the data is endless, None if unknown."""
    if hasattr(data, "cardinality"):
        if (size := cardinality(data)) != UNKNOWN:
            return size
        return 0 if next(iter(data), None) is None else None
    is_of_grain = not classes(data).isdisjoint(OF_GRAIN)
    rows = count_rows(_source_of_grain(data) if is_of_grain else data)
    return INFINITE if rows is not None and rows >= _ENDLESS else rows


def _source_of_grain(data: Any) -> Any:
    """Return the part of a pipeline of Grain that has a length; its end may have none."""
    data = getattr(data, "_sampler", data)  # of a DataLoader; Keras reads it, too
    while not hasattr(data, "__len__") and len(getattr(data, "parents", ())) == 1:
        kind = type(data)
        # Other steps are endless if their source is, but the user's own may not be.
        if not kind.__module__.startswith("grain.") or kind.__name__ == "LimitIterDataset":
            break
        (data,) = data.parents
    return data


def cardinality(dataset: Any) -> int:
    """Return the number of batches of a tf.data.Dataset; a negative number if it is unknown."""
    size = dataset.cardinality  # a method, but a plain value if tf.distribute created the dataset
    return int(size() if callable(size) else size)


def count_rows(data: Any) -> int | None:
    """Return the number of rows of (nested) arrays, or of batches of a PyDataset or DataLoader."""
    if isinstance(data, Mapping | list | tuple):
        leaves = keras.tree.flatten(data)
        data = leaves[0] if leaves else ()
    if getattr(data, "shape", ()):
        return int(data.shape[0])
    if isinstance(data, str | bytes):  # an item of a list of strings; its length is not a row count
        return None
    if isinstance(data, keras.utils.PyDataset):
        batches = data.num_batches
        return INFINITE if batches is None else int(batches)
    try:
        return len(data)
    except TypeError:  # a DataLoader over an IterableDataset has a __len__ that raises
        return None


def bytes_of(dataset: Any, unknown: float) -> float:
    """Return the bytes of a tf.data.Dataset's rows, with `unknown` for each unknown size."""
    if (batches := cardinality(dataset)) < 0:
        return math.inf
    rows, taken = batch_size_of(dataset) or unknown, 0.0
    for spec in keras.tree.flatten(dataset.element_spec):
        sizes = [unknown] if spec.shape.rank is None else [*spec.shape]
        first = [rows if size is None else size for size in sizes[:1]]
        others = [unknown if size is None else size for size in sizes[1:]]
        taken += math.prod(first + others) * (spec.dtype.size or unknown)
    return batches * taken


def a_batch(x: Any, y: Any = None, batch_size: int = 1) -> Any:
    """Return the first batch as a training step gets it."""
    if not makes_batches(x):
        rows = np.arange(min(batch_size, count_rows(x) or 0))
        return pick(keras.utils.pack_x_y_sample_weight(x, y), rows)
    return x[0] if isinstance(x, keras.utils.PyDataset) else next(iter(x))


def symbolic(leaf: Any) -> keras.KerasTensor | None:
    """Return a symbolic batch of an array, as Keras's adapters would make it, or of a TensorSpec.

    Returns:
        None for what is neither an array of numbers, nor describes a tensor of known rank.
    """
    if not isinstance(leaf, np.ndarray):
        if type(leaf).__name__ != "TensorSpec" or not leaf.shape.rank:
            return None
        return keras.KerasTensor(leaf.shape.as_list(), leaf.dtype.name)
    if leaf.ndim == 0 or leaf.dtype.kind not in "biuf":
        return None
    is_float = np.issubdtype(leaf.dtype, np.floating)
    dtype = keras.config.floatx() if is_float else keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype)


def symbolic_read(leaf: Any) -> keras.KerasTensor | None:
    """Return a symbolic batch for a part of a batch that was read, or for any spec of TensorFlow.

    Raises:
        Exception: Any error from Keras if the shape is unknown.
    """
    if leaf is None:
        return None
    if not hasattr(leaf, "dtype"):  # such as a DataFrame or a number
        leaf = np.asarray(leaf)
    is_text = getattr(leaf.dtype, "kind", "") in "OSU" and isinstance(leaf.dtype, np.dtype)
    dtype = "string" if is_text else keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype)


def to_plain(batch: Any) -> Any:
    """Return a symbolic batch as JSON-serializable values."""
    if batch is None:
        return None
    if isinstance(batch, Mapping):
        return {str(name): to_plain(part) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        return [_NEST, *map(to_plain, batch)]
    return [_LEAF, list(batch.shape), batch.dtype]


def from_plain(plain: Any) -> Any:
    """Return the symbolic batch from its plain form, with tuples for sequences, as in tf.data."""
    if plain is None:
        return None
    if isinstance(plain, Mapping):
        return {name: from_plain(part) for name, part in plain.items()}
    kind, *parts = plain
    return keras.KerasTensor(*parts) if kind == _LEAF else tuple(map(from_plain, parts))
