"""Symbolic batches: the shapes and dtypes of the data that a training step gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import undisturbed
from kerastune_optuna._data.sizes import a_batch

_NEST, _LEAF = "nest", "leaf"  # the first items of lists in the JSON-serializable form


def specify(x: Any, y: Any = None) -> Any:
    """Return a symbolic batch of arrays or of a tf.data.Dataset; None for other data."""
    batch = getattr(x, "element_spec", None)
    if batch is None:
        batch = keras.utils.pack_x_y_sample_weight(x, y)
    leaves = keras.tree.flatten(batch)
    if not leaves or not all(map(_is_plain, leaves)):
        return None
    return keras.tree.map_structure(_symbolic, batch)


def _is_plain(leaf: Any) -> bool:
    """Whether a leaf is an array of numbers, or describes a tensor of known rank."""
    if isinstance(leaf, np.ndarray):
        return leaf.ndim > 0 and leaf.dtype.kind in "biuf"
    return type(leaf).__name__ == "TensorSpec" and bool(leaf.shape.rank)


def _symbolic(leaf: Any) -> keras.KerasTensor:
    """Return a symbolic tensor for an array, as Keras's adapters would, or for a TensorSpec."""
    if not isinstance(leaf, np.ndarray):
        return keras.KerasTensor(leaf.shape.as_list(), leaf.dtype.name)
    is_float = np.issubdtype(leaf.dtype, np.floating)
    dtype = keras.config.floatx() if is_float else keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype)


def specify_read(x: Any, y: Any = None) -> Any:
    """Return what `specify` returns, for any data; if necessary, read a batch.

    Raises:
        Exception: Any error from the user's data, or from Keras if the shapes are unknown.
    """
    if (told := specify(x, y)) is not None:
        return told
    if hasattr(x, "element_spec"):  # reading a batch would advance a shuffle()
        return keras.tree.map_structure(_of_value, x.element_spec)
    with undisturbed():
        return keras.tree.map_structure(_of_value, a_batch(x, y))


def _of_value(leaf: Any) -> keras.KerasTensor | None:
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
