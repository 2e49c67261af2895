"""Digests of a builder's code and of the plain values that it reads, to tell what has changed."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from tokenize import TokenError
from types import CodeType, FunctionType
from typing import Any

_CODE = "the code of "
_MOST = 256  # entries: a longer container probably holds data, so it is not searched for layers


def digest(content: bytes) -> str:
    """Return a short digest, the same in any process."""
    return hashlib.sha256(content).hexdigest()[:12]


def digests(build_model: Callable[..., Any]) -> dict[str, str]:
    """Return digests of a builder's source, and of what it calls and reads in its own module.

    The digests are the same in any process. A builder reads its globals, closures and defaults; of
    these, numbers, texts, and tuples and dicts of them have a digest. Lists are left out, since the
    builder may append to them.

    Returns:
        The digests, by the names of what was digested; empty if there is no source to read.
    """
    function, read = _unwrapped(build_model)
    found: dict[str, str] = {}
    for code, own in _reached(_code_of(function)):
        try:
            source = inspect.getsource(code)
        except (OSError, TypeError, SyntaxError, TokenError):  # the file may have changed since
            continue
        name = f"{_CODE}{code.__name__}"
        # Two lambdas, or two functions that a third one returned, have the same name.
        n = sum(key.partition(" #")[0] == name for key in found)
        found[f"{name} #{n + 1}" if n else name] = digest(source.encode())
        read |= {f"{one} in {code.__name__}": value for one, value in own.items()}
    texts = {name: text for name, value in read.items() if (text := _text(value)) is not None}
    return found | {name: digest(text.encode()) for name, text in texts.items()}


def fingerprint(found: Mapping[str, str]) -> str | None:
    """Return one digest of all that `digests` found; None if there is no source to read."""
    return digest(repr(sorted(found.items())).encode()) if found else None


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names whose digest has changed."""
    return [name for name, one in now.items() if before.get(name) != one]


def values(build_model: Callable[..., Any]) -> Iterator[Any]:
    """Yield the objects that a builder holds or reads, also in functions that it calls."""
    function, given = _unwrapped(build_model)
    own = getattr(function, "__self__", function)
    held = {} if inspect.ismodule(own) else getattr(own, "__dict__", {})
    read = (one.values() for _, one in _reached(_code_of(function)))
    for value in chain(given.values(), held.values(), *read):
        if not isinstance(value, list | tuple | dict):
            yield value
        elif len(value) <= _MOST:
            yield from value.values() if isinstance(value, dict) else value


def _unwrapped(build_model: Any) -> tuple[Any, dict[str, Any]]:
    """Return the function within functools.partial and decorators, and the partials' arguments."""
    given: dict[str, Any] = {}
    while (inner := getattr(build_model, "func", None)) is not None:
        named = getattr(build_model, "keywords", {}).items()
        given |= {f"{name}= of functools.partial": value for name, value in named}
        build_model = inner
    return inspect.unwrap(build_model), given


def _code_of(function: Any) -> Any:
    """Return a function or class as it is; for any other object, return its class."""
    is_code = inspect.isroutine(function) or inspect.isclass(function)
    return function if is_code else type(function)


def _reached(code: Any, seen: set[int] | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield a function or class, and those of its module that it uses, with what each reads.

    Args:
        code: The function or class.
        seen: The ids of the functions and classes that were yielded before.
    """
    seen = set() if seen is None else seen
    if id(code) in seen:
        return
    seen.add(id(code))
    candidates = vars(code).values() if inspect.isclass(code) else [inspect.unwrap(code)]
    functions = (getattr(one, "__func__", one) for one in candidates)  # of class methods
    read: dict[str, Any] = {}
    for function in functions:
        if isinstance(function, FunctionType):
            read |= _read_by(function)
    own = [name for name, value in read.items() if _is_of_module(value, code)]
    reached = [read.pop(name) for name in own]
    yield code, read
    for one in reached:
        yield from _reached(one, seen)


def _is_of_module(value: Any, code: Any) -> bool:
    """Whether something is a function or a class of the same module."""
    return isinstance(value, FunctionType | type) and value.__module__ == code.__module__


def _read_by(function: FunctionType) -> dict[str, Any]:
    """Return the values that a function reads, by name: its defaults, closure and globals."""
    parameters = inspect.signature(function).parameters.items()
    defaults = {name: one.default for name, one in parameters if one.default is not one.empty}
    known, names = function.__globals__, _names(function.__code__)
    read = {name: known[name] for name in names if name in known}
    return {**defaults, **inspect.getclosurevars(function).nonlocals, **read}


def _names(code: CodeType) -> list[str]:
    """Return the names in code that may be globals; names of attributes are among them."""
    inside = (one for one in code.co_consts if isinstance(one, CodeType))
    # A dict, not a set, whose order differs between processes.
    return list(dict.fromkeys([*code.co_names, *chain.from_iterable(map(_names, inside))]))


def _text(value: Any) -> str | None:
    """Return a plain value as a text that is the same in any process; None for other values."""
    try:
        return None if isinstance(value, list) else json.dumps(value)
    except (TypeError, ValueError):
        return None
