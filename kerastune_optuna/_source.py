"""Digests of a builder's code and of the plain values that it reads, to name what changed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from types import CodeType, FunctionType
from typing import Any

_PLAIN = (str, bytes, bool, int, float, complex, type(None))
_CODE = "the code of "
_MOST = 256  # entries: a longer container holds data, and is not searched for layers


def digest(content: bytes) -> str:
    """Return a short digest, the same in any process."""
    return hashlib.sha256(content).hexdigest()[:12]


def digests(build_model: Callable[..., Any]) -> dict[str, str]:
    """Return digests of a builder's source, and of what it calls and reads of its own module.

    They are the same in any process. What a builder reads are its globals, closures and defaults,
    as far as these are numbers, texts, or tuples and dicts of them. A list is left out: the builder
    may fill it.

    Returns:
        Each digest by the name of what it stands for; nothing where there is no source to read.
    """
    found: dict[str, str] = {}
    while (inner := getattr(build_model, "func", None)) is not None:  # of functools.partial
        for name, value in getattr(build_model, "keywords", {}).items():
            _note(found, f"{name}= of functools.partial", value)
        build_model = inner
    function = inspect.unwrap(build_model)
    _add(found, function if inspect.isroutine(function) else type(function))
    return found


def fingerprint(build_model: Callable[..., Any]) -> str | None:
    """Return one digest of all that `digests` finds; None where there is no source to read."""
    return combined(digests(build_model))


def combined(found: Mapping[str, str]) -> str | None:
    """Return one digest of all these; None where there are none."""
    return digest(repr(sorted(found.items())).encode()) if found else None


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of what has another digest now."""
    return [name for name, one in now.items() if before.get(name) != one]


def values(build_model: Callable[..., Any], seen: set[int] | None = None) -> Iterator[Any]:
    """Yield the objects that a builder reads, also through functions of its own module."""
    seen = set() if seen is None else seen
    seen.add(id(build_model))
    while (inner := getattr(build_model, "func", None)) is not None:
        yield from getattr(build_model, "args", ())
        yield from getattr(build_model, "keywords", {}).values()
        build_model = inner
    function = inspect.unwrap(build_model)
    own = getattr(function, "__self__", function)
    read = [] if inspect.ismodule(own) else list(getattr(own, "__dict__", {}).values())
    code = function if inspect.isroutine(function) or inspect.isclass(function) else type(function)
    read += [value for one in _functions(code) for _, value in _reads(one)]
    for value in read:
        if _is_of_module(value, code) and id(value) not in seen:
            yield from values(value, seen)
        elif isinstance(value, list | tuple | dict):
            if len(value) <= _MOST:
                yield from value.values() if isinstance(value, dict) else value
        else:
            yield value


def _is_of_module(value: Any, code: Any) -> bool:
    """Whether something is a function or a class of the same module."""
    return isinstance(value, FunctionType | type) and value.__module__ == code.__module__


def _add(found: dict[str, str], code: Any) -> None:
    """Add the digests of a function or a class, and of what it calls and reads."""
    name = f"{_CODE}{code.__name__}"
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):
        return
    alike = [one for key, one in found.items() if key.partition(" #")[0] == name]
    if (own := digest(source.encode())) in alike:
        return
    # Two lambdas, or two functions that a third one returned, have one name.
    found[f"{name} #{len(alike) + 1}" if alike else name] = own
    for function in _functions(code):
        for read, value in _reads(function):
            if _is_of_module(value, code):
                _add(found, value)
            else:
                _note(found, f"{read} in {code.__name__}", value)


def _note(found: dict[str, str], name: str, value: Any) -> None:
    if _is_plain(value) and not isinstance(value, list):
        found[name] = digest(repr(value).encode())


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, [*value, *value.values()]))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return type(value) in _PLAIN


def _functions(code: Any) -> Iterator[FunctionType]:
    """Yield the function that was given, or those of the class that was given."""
    candidates = vars(code).values() if inspect.isclass(code) else [inspect.unwrap(code)]
    for one in candidates:
        function = getattr(one, "__func__", one)  # of a bound, class or static method
        if isinstance(function, FunctionType):
            yield function


def _reads(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names and values that a function reads: its defaults, closure and globals."""
    names = list(inspect.signature(function).parameters.items())
    yield from ((name, one.default) for name, one in names if one.default is not one.empty)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # Python raises it for a name that has no value yet
            continue
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _names(code: CodeType) -> list[str]:
    """Return the names in code that may be globals: attributes of the same names are among them."""
    inside = (one for one in code.co_consts if isinstance(one, CodeType))
    # In an order that is the same in any process: that of a set is not.
    return list(dict.fromkeys([*code.co_names, *chain.from_iterable(map(_names, inside))]))
