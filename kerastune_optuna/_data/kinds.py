"""Arrays of kinds that Model.fit does not take: refused in one line, before any training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerastune_optuna._data.checks import is_loader, is_of, makes_batches
from kerastune_optuna._data.fit import FitArguments
from kerastune_optuna._exceptions import ArgumentTypeError

_VALUES = (str, bytes, int, float, complex, np.generic)
_INSTEAD = "Pass arrays of numbers"
_ONE_TYPE = 'Give all columns one, as frame.astype("float32") does'
_OF_TORCH = {("torch", "Dataset")}
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
            raise ArgumentTypeError(f"{name} holds {fault}. {_instead(leaf)}.")


def named_arrays(fit: FitArguments) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of the data, nested ones too, with names like validation_data[0]['age']."""
    parts = {"x": fit.x, "y": fit.y, "sample_weight": fit.others.get("sample_weight")}
    for name, data in {**parts, "validation_data": fit.validation_data}.items():
        if data is None or is_loader(data) or makes_batches(data):
            continue
        for path, leaf in keras.tree.flatten_with_path(data):
            if leaf is not None:
                yield name + "".join(f"[{step!r}]" for step in path), leaf


def _instead(leaf: Any) -> str:
    """Return what to pass in place of what Keras does not take."""
    if is_of(leaf, _OF_TORCH):
        return "Wrap it in a DataLoader of PyTorch, which makes batches of its rows"
    if hasattr(leaf, "columns") and all(map(_is_known, leaf.dtypes)):
        return _ONE_TYPE
    return _INSTEAD + (_OR_TEXTS if keras.backend.backend() == "tensorflow" else "")


def _fault(leaf: Any) -> str | None:
    """Return what an array holds that Keras does not take; None where all is well."""
    if isinstance(leaf, _VALUES):
        return f"a value of type {type(leaf).__name__}, which has no rows"
    if hasattr(leaf, "dtypes") and hasattr(leaf, "columns"):
        return _fault_of_columns(leaf)
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        kind = type(leaf).__name__
        return None if hasattr(leaf, "__array__") else f"a {kind}, which is no array"
    if isinstance(leaf, np.ndarray) and dtype.hasobject and _are_texts(leaf):
        return None
    return None if _is_known(dtype) else f"values of type {dtype}"


def _fault_of_columns(frame: Any) -> str | None:
    """Return the same of a table of pandas, whose columns may have types of their own."""
    for column, dtype in frame.dtypes.items():
        if not _is_known(dtype):
            return f"values of type {dtype} in column {column!r}"
    if frame.iloc[:0].to_numpy().dtype.hasobject:
        types = " and ".join(dict.fromkeys(map(str, frame.dtypes)))
        return f"columns of types {types}, which have none in common"
    return None


def _are_texts(array: Any) -> bool:
    """Whether an array of objects holds texts, which Keras takes under TensorFlow alone."""
    return keras.backend.backend() == "tensorflow" and all(isinstance(one, str) for one in array)


def _is_known(dtype: Any) -> bool:
    try:
        keras.backend.standardize_dtype(dtype)
    except ValueError:
        return False
    return True
