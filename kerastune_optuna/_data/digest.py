"""Distinguish trainings by a digest of their data and arguments, as far as these can be read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePath
from types import CellType, CodeType, MethodType, ModuleType
from typing import Any, TypeAlias

import keras
import numpy as np

from kerastune_optuna._data.datasets import is_tf_dataset

_Piece: TypeAlias = bytes | memoryview
_OPAQUE = (ModuleType, keras.Layer)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), np.generic, slice, PurePath)


def digest(*parts: Any) -> str:
    """Return eight hexadecimal digits that are the same for equal parts, even in another process.

    Arrays are read as a whole; of a tf.data.Dataset only the graph is read. A function counts by
    its code, with all functions within it, its defaults and the values bound to it; any other
    object by its type and its plain attributes, but for modules and for layers, which change when
    they are called.
    """
    found = hashlib.sha256()
    for leaf in keras.tree.flatten(parts):
        for piece in _pieces(leaf, set()):
            found.update(piece)
    return found.hexdigest()[:8]


def _pieces(leaf: Any, seen: set[int]) -> Iterator[_Piece]:
    """Yield bytes that differ if the parts differ; of a function, which may hold itself, once.

    Args:
        leaf: One of the parts, or what it holds.
        seen: The ids of what was begun before.
    """
    if _is_data(leaf):
        yield from _of_data(leaf)
        return
    seen.add(id(leaf))
    is_object = (held := _held(leaf)) is None
    if is_object:
        yield getattr(leaf, "__qualname__", type(leaf).__qualname__).encode()
        held = {} if isinstance(leaf, _OPAQUE) else getattr(leaf, "__dict__", {})
    for one in keras.tree.flatten(held):
        is_followed = not is_object or _held(one) is not None
        if _is_data(one) or (is_followed and id(one) not in seen):
            yield from _pieces(one, seen)


def _held(leaf: Any) -> Any:
    """Return what decides what a function, or a part of its code, does; None for other objects."""
    if isinstance(leaf, functools.partial):
        return leaf.func, leaf.args, leaf.keywords
    if isinstance(leaf, CodeType):
        return leaf.co_code, leaf.co_names, leaf.co_consts
    if isinstance(leaf, frozenset):  # a set in code, whose order differs between processes
        return sorted(leaf, key=repr)
    if (code := getattr(leaf, "__code__", None)) is None:
        return None
    bound = [part for cell in leaf.__closure__ or () for part in _content(cell)]
    owner = [leaf.__self__] if isinstance(leaf, MethodType) else []
    return code, leaf.__defaults__, leaf.__kwdefaults__, bound, owner


def _content(cell: CellType) -> list[Any]:
    """Return what a function reads from a cell; nothing if that is not defined yet."""
    with suppress(ValueError):
        return [cell.cell_contents]
    return []


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
