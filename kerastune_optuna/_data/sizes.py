"""The sizes of data: rows, batches, bytes and shapes, as far as they are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import batch_size_of
from kerastune_optuna._data.pick import pick
from kerastune_optuna._data.sources import OF_GRAIN, classes, makes_batches

INFINITE = -1  # the size of endless data
_UNKNOWN = -2  # what tf.data.Dataset.cardinality() returns, beside -1
_ENDLESS = 1 << 40  # rows or batches; an endless repeat() of Grain has a length of sys.maxsize


def size_of(data: Any) -> int | None:
    """Return the number of rows or batches; INFINITE if the data is endless, None if unknown."""
    if may_end(data):
        return 0 if next(iter(data), None) is None else None
    if hasattr(data, "cardinality"):
        return _cardinality(data)
    rows = count_rows(_source_of_grain(data) if is_of_grain(data) else data)
    return INFINITE if rows is not None and rows >= _ENDLESS else rows


def is_of_grain(data: Any) -> bool:
    """Whether the data is a pipeline or a DataLoader of Grain."""
    return not classes(data).isdisjoint(OF_GRAIN)


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


def _cardinality(dataset: Any) -> int:
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


def may_end(data: Any) -> bool:
    """Whether a tf.data.Dataset does not tell whether it ends, and when."""
    return hasattr(data, "cardinality") and _cardinality(data) == _UNKNOWN


def count_batches(data: Any, batch_size: int, validation_split: float) -> int | None:
    """Return how many batches arrays or a tf.data.Dataset have for training; None if unknown."""
    if hasattr(data, "cardinality"):
        size = _cardinality(data)
        return size if size > 0 else None
    rows = None if makes_batches(data) else count_rows(data)
    # Keras gives the first floor(rows * (1 - split)) rows to training.
    return None if rows is None else math.ceil(int(rows * (1 - validation_split)) / batch_size)


def shape_of_a_batch(data: Any, batch_size: int) -> tuple[int, ...] | None:
    """Return the shape of a batch of the first input, with guesses for unknown sizes."""
    if hasattr(data, "element_spec"):
        spec = data.element_spec
        first = keras.tree.flatten(spec[0] if isinstance(spec, tuple) else spec)[0]
        if not getattr(first, "shape", None) or not first.shape.rank:
            return None  # several replicas, an unknown rank, or scalars without a batch()
        rows, *row = first.shape.as_list()
        return (rows or batch_size_of(data) or 128, *(size or 1 for size in row))
    leaves = [] if makes_batches(data) else keras.tree.flatten(data)
    shape = getattr(leaves[0], "shape", ()) if leaves else ()
    return (batch_size, *(int(size or 1) for size in shape[1:])) if shape else None


def bytes_of(dataset: Any, unknown: float) -> float:
    """Return the bytes of a tf.data.Dataset's rows, with `unknown` for each unknown size."""
    if (batches := _cardinality(dataset)) < 0:
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
