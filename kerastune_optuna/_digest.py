"""Digests, the same in any process: of data and files by content, of functions by their code.

With a builder's own code, what it reads is digested too, to tell what has changed.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import keras
import numpy as np

_Piece: TypeAlias = bytes | memoryview
_OPAQUE = (ModuleType, keras.Layer)
# The types of values that repr() shows whole.
PLAIN = (str, bytes, int, float, complex, bool, type(None), np.generic, slice, PurePath)
_CODE = "the code of "
_PYTHON = "Python"  # which compiles the code, each version to other instructions
_MOST = 256  # entries: a longer container probably holds data, so it is not searched for layers


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


def of_file(path: Path) -> str:
    """Return the whole SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(*functions: Callable[..., Any]) -> dict[str, str]:
    """Return digests of functions' code, and of what they call and read in their own modules.

    The digests are the same in any process. A function reads its globals, closures and defaults; of
    these, numbers, texts, and tuples and dicts of them have a digest. Lists are left out, since a
    builder may append to them. Comments, and how code is laid out, do not count. Each function has
    the digests that it has alone, but for names that the functions before it have, too.

    Returns:
        The digests, by the names of what was digested, and the version of Python.
    """
    found, read = {_PYTHON: str(sys.implementation.cache_tag)}, dict[str, Any]()
    for function, given in map(_unwrapped, functions):
        read = {**read, **given, **read}  # in order, with the first of two values of a name
        for code, own in _reached(function):
            name = f"{_CODE}{code.__name__}"
            # Two lambdas, or two functions that a third one returned, have the same name.
            n = sum(key.partition(" #")[0] == name for key in found)
            parts = [one.__code__ for one in _functions(code)]
            found[f"{name} #{n + 1}" if n else name] = digest(*parts)
            own = {f"{one} in {code.__name__}": value for one, value in own.items()}
            read = {**read, **own, **read}
    for name, value in read.items():
        if not isinstance(value, list):
            with suppress(TypeError, ValueError):  # raised for what is no plain value
                found[name] = digest(json.dumps(value))
    return found


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names whose digest has changed; none if another Python compiled the code."""
    if before.get(_PYTHON) != now[_PYTHON]:
        return []
    return [name for name, one in now.items() if before.get(name) != one]


def read_by(*functions: Callable[..., Any]) -> list[Any]:
    """Return the objects that functions hold or read, also in functions that they call."""
    found: list[Any] = []
    for function, given in map(_unwrapped, functions):
        own = getattr(function, "__self__", function)
        attributes = {} if inspect.ismodule(own) else getattr(own, "__dict__", {})
        read = (one.values() for _, one in _reached(function))
        for value in chain(given.values(), attributes.values(), *read):
            if not isinstance(value, list | tuple | dict):
                found.append(value)
            elif len(value) <= _MOST:
                found += value.values() if isinstance(value, dict) else value
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
    for part in keras.tree.flatten(parts):
        yield from _pieces(part, seen, in_object=is_object)


def _parts(leaf: Any) -> Any:
    """Return what decides what a function, or a part of its code, does; None for other objects."""
    if isinstance(leaf, functools.partial):
        return leaf.func, leaf.args, leaf.keywords
    if isinstance(leaf, MethodType):
        return leaf.__func__, leaf.__self__
    if isinstance(leaf, FunctionType):
        return leaf.__code__, _held(leaf)
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


def _held(function: FunctionType) -> dict[str, Any]:
    """Return the values that a function holds, by name: its defaults and its closure."""
    code, found = function.__code__, dict(function.__kwdefaults__ or {})
    names = reversed(code.co_varnames[: code.co_argcount])
    found |= zip(names, reversed(function.__defaults__ or ()), strict=False)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the variable has no value yet
            found[name] = cell.cell_contents
    return found


def _unwrapped(build_model: Any) -> tuple[Any, dict[str, Any]]:
    """Return the function within functools.partial and decorators, and the partials' arguments."""
    given: dict[str, Any] = {}
    while (inner := getattr(build_model, "func", None)) is not None:
        named = getattr(build_model, "keywords", {}).items()
        given |= {f"{name}= of functools.partial": value for name, value in named}
        build_model = inner
    return inspect.unwrap(build_model), given


def _reached(function: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield a function or class, and those of its module that it uses, with what each reads.

    Any other object, which can be called too, is represented by its class.
    """
    is_code = inspect.isroutine(function) or inspect.isclass(function)
    code = function if is_code else type(function)
    reached = [code]
    for unit in reached:  # the functions and classes that a unit uses are added meanwhile
        members = vars(unit).items() if inspect.isclass(unit) else ()
        read = {k: v for k, v in members if not (k.startswith("__") or isinstance(v, FunctionType))}
        for part in _functions(unit):
            values, names = part.__globals__, _names(part.__code__)
            read |= {**_held(part), **{name: values[name] for name in names if name in values}}
        codes = {k: v for k, v in read.items() if isinstance(v, FunctionType | type)}
        own = {k: v for k, v in codes.items() if v.__module__ == code.__module__}
        reached += [one for one in dict.fromkeys(own.values()) if one not in reached]
        yield unit, {name: value for name, value in read.items() if name not in own}


def _functions(code: Any) -> list[FunctionType]:
    """Return a function, or the functions of a class, without decorators."""
    members = vars(code).values() if inspect.isclass(code) else [code]
    # Methods of an object or of a class have a __func__, and properties an fget.
    inner = (getattr(one, "__func__", getattr(one, "fget", one)) for one in members)
    return [one for one in map(inspect.unwrap, inner) if isinstance(one, FunctionType)]


def _names(code: CodeType) -> list[str]:
    """Return the names in code that may be globals; names of attributes are among them."""
    inside = (one for one in code.co_consts if isinstance(one, CodeType))
    # A dict, not a set, whose order differs between processes.
    return list(dict.fromkeys([*code.co_names, *chain.from_iterable(map(_names, inside))]))
