"""Digests of a builder's code and of the plain values that it reads, to tell what has changed."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from types import CodeType, FunctionType
from typing import Any

from kerastune_optuna._digest import digest, held

_CODE = "the code of "
_PYTHON = "Python"  # which compiles the code, each version to other instructions
_MOST = 256  # entries: a longer container probably holds data, so it is not searched for layers


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


def values(*functions: Callable[..., Any]) -> list[Any]:
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
    for one in reached:  # to which those are added that this one uses
        members = vars(one).items() if inspect.isclass(one) else ()
        read = {k: v for k, v in members if not (k.startswith("__") or isinstance(v, FunctionType))}
        for part in _functions(one):
            known, names = part.__globals__, _names(part.__code__)
            read |= {**held(part), **{name: known[name] for name in names if name in known}}
        codes = {k: v for k, v in read.items() if isinstance(v, FunctionType | type)}
        own = {k: v for k, v in codes.items() if v.__module__ == code.__module__}
        reached += [each for each in dict.fromkeys(own.values()) if each not in reached]
        yield one, {name: value for name, value in read.items() if name not in own}


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
