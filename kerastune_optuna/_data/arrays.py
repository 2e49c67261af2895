"""Arrays of every type that Model.fit takes: pick rows of them, and say what is wrong in one."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

_NO_ARRAY = "Pass arrays, or data that makes batches, like a tf.data.Dataset or a DataLoader"
_ONE_TYPE = 'Convert all columns to one type, as frame.astype("float32") does'
_NUMBERS = "Pass arrays of numbers"
_OR_TEXTS = (
    ", or of strings: numpy.array(texts, dtype=object) with one dimension, or tf.constant(texts)"
)
_PIECE = 1 << 20  # values of an array that are checked for NaN and infinity at a time


def pick(data: Any, rows: NDArray[Any] | slice) -> Any:
    """Return the given rows of arrays, which may be nested."""
    if keras.tree.is_nested(data):
        return keras.tree.map_structure(lambda leaf: pick(leaf, rows), data)
    if data is None:
        return None
    if hasattr(data, "iloc"):  # pandas, where [] picks columns
        return data.iloc[rows]
    if hasattr(data, "tocsr"):  # SciPy, where some sparse arrays do not support []
        return data.tocsr()[rows]
    is_of_tensorflow = type(data).__module__.startswith("tensorflow.")
    if is_of_tensorflow and not isinstance(rows, slice):  # [] does not take a list there
        import tensorflow as tf  # installed, since the data is TensorFlow's

        return tf.gather(data, rows)
    return data[rows]


def fault_of_type(leaf: Any) -> str | None:
    """Return what Keras does not take in an array and what to pass instead, or None."""
    if not getattr(leaf, "shape", ()) or not (hasattr(leaf, "dtype") or hasattr(leaf, "columns")):
        return f"{type(leaf).__name__}, which is not an array. {_NO_ARRAY}"
    has_texts = keras.backend.backend() == "tensorflow"
    instead = _NUMBERS + _OR_TEXTS * has_texts
    if has_texts and isinstance(leaf, np.ndarray) and leaf.dtype.hasobject:
        are_texts = all(isinstance(one, str) for one in leaf)
        return None if are_texts else f"values of type {leaf.dtype}. {instead}"
    is_table = hasattr(leaf, "columns")  # a DataFrame of pandas, whose columns may differ in type
    for column, dtype in leaf.dtypes.items() if is_table else [("", leaf.dtype)]:
        try:
            keras.backend.standardize_dtype(dtype)
        except ValueError:
            where = f" in column {column!r}" if is_table else ""
            return f"values of type {dtype}{where}. {instead}"
    if is_table and leaf.iloc[:0].to_numpy().dtype.hasobject:
        types = " and ".join(dict.fromkeys(map(str, leaf.dtypes)))
        return f"columns of types {types}, which have no common type. {_ONE_TYPE}"
    return None


def fault_of_values(leaf: Any) -> str | None:
    """Return which value of an array or table is not finite, and where it is, or None."""
    if hasattr(leaf, "columns") and hasattr(leaf, "iloc"):
        for place, name in enumerate(leaf.columns):
            if (found := _first_fault(leaf.iloc[:, place])) is not None:
                return f"{found} in column {name!r}"
        return None
    if hasattr(leaf, "flat_values"):  # a ragged tensor, of which only the values are stored
        stored = leaf.flat_values
    elif hasattr(leaf, "dense_shape"):  # a sparse tensor
        stored = leaf.values
    else:
        stored = leaf.tocoo().data if hasattr(leaf, "tocoo") else leaf
    found = _first_fault(stored)
    return found if found is None or stored is leaf else found.partition(" (")[0]


def _first_fault(array: Any) -> str | None:
    """Return the first value of an array that is not finite, and where it is, or None."""
    # Each library has its own dtypes, but all have "float" in their names.
    if not getattr(array, "shape", ()) or "float" not in str(array.dtype):
        return None
    step = max(1, _PIECE // max(1, math.prod(map(int, array.shape[1:]))))
    rows = getattr(array, "iloc", array)
    for begin in range(0, int(array.shape[0]), step):
        with np.errstate(over="ignore"):  # values too large for float32 become infinity
            piece = np.asarray(keras.ops.convert_to_numpy(rows[begin : begin + step]))
            values = piece.astype(keras.config.floatx(), copy=False)  # as they are trained on
        if not (finite := np.isfinite(values)).all():
            row, *place = np.unravel_index(finite.argmin(), values.shape)
            value = "NaN" if np.isnan(values[(row, *place)]) else "infinity"
            column = f", column {place[0]}" if len(place) == 1 else ""
            return f"{value} (first in row {begin + row}{column})"
    return None
