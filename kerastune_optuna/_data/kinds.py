"""Arrays of kinds that Model.fit does not take: refused in one line, before any training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerastune_optuna._data.checks import is_loader, makes_batches
from kerastune_optuna._data.fit import FitArguments
from kerastune_optuna._exceptions import ArgumentTypeError

_NO_ARRAY = "Pass arrays, or what makes batches, like a tf.data.Dataset or a DataLoader"
_ONE_TYPE = 'Give all columns one, as frame.astype("float32") does'
_NUMBERS = "Pass arrays of numbers"
_OR_TEXTS = (
    ", or of texts: numpy.array(texts, dtype=object) with one dimension, or tf.constant(texts)"
)


def check_kinds(fit: FitArguments) -> None:
    """Refuse arrays whose type Keras does not take; what functions will load is not looked at.

    Raises:
        ArgumentTypeError: Names the array or the column, and says what to pass instead.
    """
    for name, leaf in named_arrays(fit):
        if (fault := _fault(leaf)) is not None:
            raise ArgumentTypeError(f"{name} holds {fault}.")


def named_arrays(fit: FitArguments) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of the data, nested ones too, with names like validation_data[0]['age']."""
    parts = {"x": fit.x, "y": fit.y, "sample_weight": fit.others.get("sample_weight")}
    for name, data in {**parts, "validation_data": fit.validation_data}.items():
        if data is None or is_loader(data) or makes_batches(data):
            continue
        for path, leaf in keras.tree.flatten_with_path(data):
            if leaf is not None:
                yield name + "".join(f"[{step!r}]" for step in path), leaf


def _fault(leaf: Any) -> str | None:
    """Return what an array holds that Keras does not take, and what to pass; None for nothing."""
    if not getattr(leaf, "shape", ()):
        return f"{type(leaf).__name__}, which is no array. {_NO_ARRAY}"
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
    """Return the same of a table of pandas, whose columns may have types of their own."""
    for column, dtype in frame.dtypes.items():
        if not _is_known(dtype):
            return f"values of type {dtype} in column {column!r}. {instead}"
    if frame.iloc[:0].to_numpy().dtype.hasobject:
        types = " and ".join(dict.fromkeys(map(str, frame.dtypes)))
        return f"columns of types {types}, which have none in common. {_ONE_TYPE}"
    return None


def _is_known(dtype: Any) -> bool:
    try:
        keras.backend.standardize_dtype(dtype)
    except ValueError:
        return False
    return True
