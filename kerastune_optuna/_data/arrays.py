"""Reject arrays of types that Model.fit does not take, with a clear error before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kerastune_optuna._data.sources import is_loader, makes_batches
from kerastune_optuna._exceptions import ArgumentTypeError

_NO_ARRAY = "Pass arrays, or data that makes batches, like a tf.data.Dataset or a DataLoader"
_ONE_TYPE = 'Convert all columns to one type, as frame.astype("float32") does'
_NUMBERS = "Pass arrays of numbers"
_OR_TEXTS = (
    ", or of strings: numpy.array(texts, dtype=object) with one dimension, or tf.constant(texts)"
)


def check_kinds(data: Mapping[str, Any]) -> None:
    """Reject arrays whose type Keras does not take; data that functions will load is not checked.

    Args:
        data: The data by its name in Model.fit.

    Raises:
        ArgumentTypeError: An array or column has such a type; the message says what to pass.
    """
    for name, leaf in named_arrays(data):
        if (fault := _fault(leaf)) is not None:
            raise ArgumentTypeError(f"{name} holds {fault}.")


def named_arrays(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of the data, also nested, with names like validation_data[0]['age']."""
    for name, part in data.items():
        if part is None or is_loader(part) or makes_batches(part):
            continue
        for path, leaf in keras.tree.flatten_with_path(part):
            if leaf is not None:
                yield name + "".join(f"[{step!r}]" for step in path), leaf


def _fault(leaf: Any) -> str | None:
    """Return what Keras does not take in an array and what to pass instead, or None."""
    if not getattr(leaf, "shape", ()) or not (hasattr(leaf, "dtype") or hasattr(leaf, "columns")):
        return f"{type(leaf).__name__}, which is not an array. {_NO_ARRAY}"
    has_texts = keras.backend.backend() == "tensorflow"
    instead = _NUMBERS + _OR_TEXTS * has_texts
    if hasattr(leaf, "columns"):
        return _fault_of_columns(leaf, instead)
    dtype = leaf.dtype
    if has_texts and isinstance(leaf, np.ndarray) and dtype.hasobject:
        is_known = all(isinstance(one, str) for one in leaf)
    else:
        is_known = _is_known(dtype)
    return None if is_known else f"values of type {dtype}. {instead}"


def _fault_of_columns(frame: Any, instead: str) -> str | None:
    """Return the same for a DataFrame of pandas, whose columns may differ in type."""
    for column, dtype in frame.dtypes.items():
        if not _is_known(dtype):
            return f"values of type {dtype} in column {column!r}. {instead}"
    if frame.iloc[:0].to_numpy().dtype.hasobject:
        types = " and ".join(dict.fromkeys(map(str, frame.dtypes)))
        return f"columns of types {types}, which have no common type. {_ONE_TYPE}"
    return None


def _is_known(dtype: Any) -> bool:
    try:
        keras.backend.standardize_dtype(dtype)
    except ValueError:
        return False
    return True
