"""Symbolic batches: the shapes and types of what a training step gets of the data, as text too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import undisturbed
from kerastune_optuna._data.checks import a_batch

_NEST, _LEAF = "nest", "leaf"  # what the lists of the text form begin with


def specify(x: Any, y: Any = None) -> Any:
    """Return what a step gets of arrays or of a tf.data.Dataset; None for other data."""
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
    """Return a symbolic batch of an array as Keras's own adapters make one, or of a dataset."""
    if not isinstance(leaf, np.ndarray):
        return keras.KerasTensor(leaf.shape.as_list(), leaf.dtype.name)
    is_float = np.issubdtype(leaf.dtype, np.floating)
    dtype = keras.config.floatx() if is_float else keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype)


def specify_read(x: Any, y: Any = None) -> Any:
    """Return the same as `specify`, of any data; where need be, a batch is read.

    Raises:
        Exception: What the user's data raises, or Keras where its shapes are not known.
    """
    if (told := specify(x, y)) is not None:
        return told
    if hasattr(x, "element_spec"):  # reading a batch would move a shuffle() on
        return keras.tree.map_structure(_of_value, x.element_spec)
    with undisturbed():
        return keras.tree.map_structure(_of_value, a_batch(x, y))


def _of_value(leaf: Any) -> keras.KerasTensor | None:
    if leaf is None:
        return None
    if not hasattr(leaf, "dtype"):  # as a DataFrame or numbers
        leaf = np.asarray(leaf)
    is_text = getattr(leaf.dtype, "kind", "") in "OSU" and isinstance(leaf.dtype, np.dtype)
    dtype = "string" if is_text else keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype)


def to_plain(batch: Any) -> Any:
    """Return a symbolic batch in a form that JSON holds."""
    if batch is None:
        return None
    if isinstance(batch, Mapping):
        return {str(name): to_plain(part) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        return [_NEST, *map(to_plain, batch)]
    return [_LEAF, list(batch.shape), batch.dtype]


def from_plain(plain: Any) -> Any:
    """Return the symbolic batch again, with tuples for its sequences as tf.data makes them."""
    if plain is None:
        return None
    if isinstance(plain, Mapping):
        return {name: from_plain(part) for name, part in plain.items()}
    kind, *parts = plain
    return keras.KerasTensor(*parts) if kind == _LEAF else tuple(map(from_plain, parts))
