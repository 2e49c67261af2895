"""Short digests, the same in any process: of data by its content, of functions by their code."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import keras
import numpy as np

_Piece: TypeAlias = bytes | memoryview
_OPAQUE = (ModuleType, keras.Layer)
# The types of values that repr() shows whole.
PLAIN = (str, bytes, int, float, complex, bool, type(None), np.generic, slice, PurePath)


def digest(*parts: Any) -> str:
    """Return twelve hexadecimal digits that are the same for equal parts, even in another process.

    Arrays are read as a whole; of a tf.data.Dataset only the graph is read. A function counts by
    its code, with all functions within it, its defaults and the values bound to it; any other
    object by its type and its plain attributes, but for modules and for layers, which change when
    they are called.
    """
    found = hashlib.sha256()
    for leaf in keras.tree.flatten(parts):
        for piece in _pieces(leaf, set()):
            found.update(piece)
    return found.hexdigest()[:12]


def held(function: FunctionType) -> dict[str, Any]:
    """Return the values that a function holds, by name: its defaults and its closure."""
    code, found = function.__code__, dict(function.__kwdefaults__ or {})
    names = reversed(code.co_varnames[: code.co_argcount])
    found |= zip(names, reversed(function.__defaults__ or ()), strict=False)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the variable has no value yet
            found[name] = cell.cell_contents
    return found


def _pieces(leaf: Any, seen: set[int], *, in_object: bool = False) -> Iterator[_Piece]:
    """Yield bytes that differ if the parts differ; of a function, which may hold itself, once.

    Args:
        leaf: One of the parts, or what it holds.
        seen: The ids of what was begun before.
        in_object: Whether an object holds it, of which other objects do not count.
    """
    if (content := _content(leaf)) is not None:
        yield from content
        return
    is_object = (parts := _parts(leaf)) is None
    if id(leaf) in seen or (is_object and in_object):
        return
    seen.add(id(leaf))
    if is_object:
        yield getattr(leaf, "__qualname__", type(leaf).__qualname__).encode()
        parts = {} if isinstance(leaf, _OPAQUE) else getattr(leaf, "__dict__", {})
    for one in keras.tree.flatten(parts):
        yield from _pieces(one, seen, in_object=is_object)


def _parts(leaf: Any) -> Any:
    """Return what decides what a function, or a part of its code, does; None for other objects."""
    if isinstance(leaf, functools.partial):
        return leaf.func, leaf.args, leaf.keywords
    if isinstance(leaf, MethodType):
        return leaf.__func__, leaf.__self__
    if isinstance(leaf, FunctionType):
        return leaf.__code__, held(leaf)
    if isinstance(leaf, CodeType):
        return leaf.co_code, leaf.co_names, leaf.co_consts
    # A set in code, whose order differs between processes.
    return sorted(leaf, key=repr) if isinstance(leaf, frozenset) else None


def _content(leaf: Any) -> list[_Piece] | None:
    """Return the content of plain values, arrays and pipelines; None for other objects."""
    if isinstance(leaf, PLAIN):
        return [f"{type(leaf).__name__} {leaf!r}".encode()]
    kind = type(leaf)
    if hasattr(kind, "element_spec") and hasattr(kind, "fingerprint"):  # a tf.data.Dataset
        return [str(leaf.fingerprint().numpy()).encode()]
    if not hasattr(leaf, "__array__"):
        return None
    array = leaf if isinstance(leaf, np.ndarray) else keras.ops.convert_to_numpy(leaf)
    if array.dtype.hasobject:  # the bytes of objects are their addresses
        array = array.astype(str)
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return [f"{array.dtype} {array.shape}".encode(), content]
