"""Describe data in a text to read, and measure it in numbers that can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerastune_optuna._data import datasets
from kerastune_optuna._data.sources import bytes_of, is_loader, is_tf_dataset, makes_batches, pick
from kerastune_optuna._digest import PLAIN, digest

_LARGEST = 1 << 22  # the most bytes that are read from an array, which takes a few milliseconds
_MOST_LEAVES = 16


def describe(data: Any) -> str:
    """Return the kind, dtype and shape of data as text, without reading it."""
    if hasattr(data, "element_spec"):
        return f"tf.data.Dataset of {data.element_spec}"
    if is_loader(data) or makes_batches(data):
        return type(data).__name__
    leaves, told = keras.tree.flatten(data), []
    for leaf in leaves[:_MOST_LEAVES]:
        if isinstance(leaf, PLAIN):
            told.append(repr(leaf)[:60])
            continue
        kind = getattr(leaf, "dtype", type(leaf).__name__)  # a DataFrame has no single dtype
        shape = tuple(leaf.shape) if hasattr(leaf, "shape") else ""
        told.append(f"{getattr(kind, 'name', kind)}{shape}")
    if len(leaves) > _MOST_LEAVES:
        told.append("...")
    return ", ".join(told)


def measure(*data: Any, split: float | None = None) -> list[Any] | None:
    """Return JSON-serializable values that distinguish data from other data, whatever its type.

    For an array of numbers, these are its size and two sums. If the same data is computed again,
    its values may change slightly; the sums then change only slightly too.

    Args:
        *data: The data as passed to Model.fit.
        split: The fraction of rows that Keras keeps for validation, to measure only these rows.

    Returns:
        A measure of each array; None if the data cannot be read twice, as from generators, or
        differs each time, as after a shuffle().
    """
    if any(map(is_loader, data)):
        return None
    try:
        kept, arrays = data, [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
        if split is not None and arrays:  # Keras validates on the last rows
            kept = pick(data, slice(int(arrays[0].shape[0] * (1 - split)), None))
        return [_measured(leaf) for leaf in _arrays(kept)]
    except Exception:  # the user's data may raise anything; then it is not compared
        return None


def _arrays(data: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the arrays in data; of a small, deterministic pipeline, join the batches first."""
    for part in keras.tree.flatten(data):
        if not makes_batches(part):
            if part is not None:
                yield part
        elif is_tf_dataset(part):
            is_small = bytes_of(part, unknown=8) <= _LARGEST
            definition = datasets.definition_of(part) if is_small else None
            if definition is None or any(map(datasets.may_differ, datasets.nodes_of(definition))):
                raise TypeError("this pipeline is not read")
            batches = (keras.tree.flatten(batch) for batch in part)
            for leaves in zip(*batches, strict=True):
                yield np.concatenate([keras.ops.convert_to_numpy(leaf).ravel() for leaf in leaves])
        else:
            raise TypeError(f"a {type(part).__name__} is not read")


def _measured(array: Any) -> list[Any] | None:
    """Return the measure of evenly spaced rows of an array, or of all rows if these are few."""
    row = 8 * math.prod(map(int, array.shape[1:]))
    n_bytes = getattr(array, "nbytes", int(array.shape[0]) * row)
    rows = pick(array, slice(None, None, max(1, math.ceil(n_bytes / _LARGEST))))
    rows = np.asarray(rows if hasattr(rows, "iloc") else keras.ops.convert_to_numpy(rows))
    size = int(math.prod(array.shape))
    if rows.dtype.hasobject and not all(isinstance(one, PLAIN) for one in rows.flat):
        return None  # only the addresses of these objects could be compared
    if rows.dtype.kind not in "biuf":
        return [size, digest(rows)]
    values = np.nan_to_num(rows.astype("float64").ravel())
    length = float(np.linalg.norm(values))
    weights = np.random.default_rng(0).standard_normal(values.size)
    # Rounded, since the last digits may differ between two processes, whose cards would, too.
    sums = length, float(weights @ values) / (length or 1.0)
    return [size, *(float(f"{round(one, 6):.6g}") for one in sums)]
