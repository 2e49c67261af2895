"""Distinguish trainings by a digest of their data and arguments, as far as these can be read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import keras
import numpy as np

from kerastune_optuna._data.datasets import is_tf_dataset

_Piece: TypeAlias = bytes | memoryview
_PLAIN = (str, bytes, int, float, bool, type(None), np.generic)


def digest(*parts: Any) -> str:
    """Return eight hexadecimal digits that are the same for equal parts, even in another process.

    Arrays are read as a whole; of a tf.data.Dataset only the graph is read. A function counts
    by its code and the values bound to it, any other object by its type and its plain attributes.
    """
    found = hashlib.sha256()
    for leaf in keras.tree.flatten(parts):
        for piece in _pieces(leaf):
            found.update(piece)
    return found.hexdigest()[:8]


def _pieces(leaf: Any) -> Iterator[_Piece]:
    """Yield bytes that differ if the parts differ."""
    if _is_data(leaf):
        yield from _of_data(leaf)
        return
    if isinstance(leaf, functools.partial):
        yield from _pieces(leaf.func)
        held = [leaf.args, leaf.keywords]
    elif code := getattr(leaf, "__code__", None):
        yield from (code.co_code, repr(code.co_names).encode())
        held = [code.co_consts, [cell.cell_contents for cell in leaf.__closure__ or ()]]
    else:
        yield type(leaf).__qualname__.encode()
        held = [getattr(leaf, "__dict__", {})]
    for one in filter(_is_data, keras.tree.flatten(held)):
        yield from _of_data(one)


def _is_data(leaf: Any) -> bool:
    """Whether the content of an object can be read."""
    return isinstance(leaf, _PLAIN) or hasattr(leaf, "__array__") or is_tf_dataset(leaf)


def _of_data(leaf: Any) -> Iterator[_Piece]:
    if is_tf_dataset(leaf):
        yield str(leaf.fingerprint().numpy()).encode()
    elif isinstance(leaf, _PLAIN):
        yield f"{type(leaf).__name__} {leaf!r}".encode()
    else:
        array = leaf if isinstance(leaf, np.ndarray) else keras.ops.convert_to_numpy(leaf)
        if array.dtype.hasobject:  # the bytes of objects are their addresses
            array = array.astype(str)
        yield f"{array.dtype} {array.shape}".encode()
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
