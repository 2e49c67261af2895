"""Set objects back to the state that they had, and all that they hold with them."""

from __future__ import annotations

import copy
import functools
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import keras
import numpy as np

from kerastune_optuna import _generators
from kerastune_optuna._backend import undisturbed

_LARGEST = 64e6  # bytes of all arrays that are copied; further ones are only looked at
_MOST = 10_000  # parts of objects that are noted in all; a longer list is noted without its items
_LOOKED_AT = 256  # values at either end of a large array
_FIXED = (type(None), bool, int, float, complex, str, bytes, np.generic, range)
_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType)
_GENERATORS = (keras.Layer, keras.random.SeedGenerator, np.random.Generator)  # of Keras and NumPy
_REDUCES = ("__reduce__", "__reduce_ex__", "__getstate__", "__deepcopy__", "__copy__")
_Put: TypeAlias = Callable[[Any, Any], object]


class Snapshot:
    """Hold the state of objects.

    Objects, lists, arrays and generators are set back in place, since other code may know them.
    What can only be copied, such as an iterator, is replaced by a copy. Layers are left as they
    are, but for their generators.
    """

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # by their ids, and held so that these stay theirs
        self._noted: list[tuple[_Put, Any, Any]] = []  # how to put what into which object
        self._copies: dict[int, Any] = {}  # by the ids of the objects that they replace
        self._large: list[tuple[str, np.ndarray, bytes]] = []
        self._bytes, self._parts = _LARGEST, _MOST  # what may still be copied

    def note(self, name: str, one: Any) -> list[Exception]:
        """Note the attributes of an object, and return why some of what it holds is left out."""
        errors: list[Exception] = []
        parts = deque(self._with_attributes(one))
        with undisturbed():
            while parts:
                part = parts.popleft()
                if id(part) not in self._seen and not isinstance(part, _FIXED):
                    self._seen[id(part)] = part
                    try:
                        parts.extend(self._parts_of(part, name))
                    except Exception as error:  # an object may raise anything when it is copied
                        errors.append(error)
        return errors

    def restore(self) -> list[str]:
        """Set all objects back; return the names of those whose large arrays have changed."""
        with undisturbed():
            copies = {key: copy.deepcopy(one) for key, one in self._copies.items()}
        for put, one, saved in self._noted:
            put(one, _replaced(saved, copies) if copies else saved)
        changed = {name for name, one, ends in self._large if _ends(one) != ends}
        self._large = [large for large in self._large if large[0] not in changed]  # told once
        return sorted(changed)

    def _parts_of(self, one: Any, of: str) -> Iterable[Any]:
        """Note an object, and return those that it holds."""
        if isinstance(one, list | dict | set | deque):
            saved = dict(one) if isinstance(one, dict) else list(one)
            self._noted.append((_fill, one, saved))
            return self._affordable(saved.values() if isinstance(saved, dict) else saved)
        if isinstance(one, tuple | frozenset):
            return self._affordable(one)
        if isinstance(one, MethodType):
            return [one.__self__]
        if isinstance(one, functools.partial):
            return [one.func, *one.args, *one.keywords.values()]
        if _is_plain(one):
            return self._with_attributes(one)
        self._note_single(one, of)
        return ()

    def _note_single(self, one: Any, of: str) -> None:
        """Note an object that is taken as a whole."""
        if _is_array(one):
            self._note_array(one, of)
        elif isinstance(one, _GENERATORS):
            first: _generators.First = {}
            _generators.restore([one], first)  # which notes the state
            self._noted.append((_restore_generators, one, first))
        elif isinstance(one, np.random.RandomState):
            self._noted.append((np.random.RandomState.set_state, one, one.get_state()))
        elif isinstance(one, random.Random):
            self._noted.append((random.Random.setstate, one, one.getstate()))
        elif not _is_fixed(one):
            self._copy(one)

    def _with_attributes(self, one: Any) -> Iterable[Any]:
        self._noted.append((_set_attributes, one, dict(vars(one))))
        return self._affordable(vars(one).values())

    def _affordable(self, parts: Iterable[Any]) -> Iterable[Any]:
        """Return the parts of an object; none if there are too many."""
        found = list(parts)
        if len(found) > self._parts:
            return ()
        self._parts -= len(found)
        return found

    def _note_array(self, one: Any, of: str) -> None:
        is_writeable = not isinstance(one, np.ndarray) or one.flags.writeable
        if one.nbytes <= self._bytes and is_writeable and not isinstance(one, np.memmap):
            self._bytes -= one.nbytes
            copied = one.copy() if isinstance(one, np.ndarray) else one.clone()
            self._noted.append((_set_values, one, copied))
        elif isinstance(one, np.ndarray) and is_writeable:
            self._large.append((of, one, _ends(one)))

    def _copy(self, one: Any) -> None:
        size = max(getattr(one, "nbytes", 0), sys.getsizeof(one))
        if size <= self._bytes and (copied := copy.deepcopy(one)) is not one:
            self._bytes -= size
            self._copies[id(one)] = copied


def _is_array(one: Any) -> bool:
    """Whether something is an array of NumPy or a tensor of PyTorch, which may change in place."""
    is_tensor = type(one).__module__ == "torch" and hasattr(one, "clone")
    return is_tensor or isinstance(one, np.ndarray)


def _is_plain(one: Any) -> bool:
    """Whether the attributes of an object are all of its state."""
    if isinstance(one, (*_CODE, *_GENERATORS)) or not hasattr(one, "__dict__"):
        return False
    kind = type(one)
    is_usual = all(getattr(kind, name, None) is getattr(object, name, None) for name in _REDUCES)
    return is_usual or isinstance(one, keras.utils.PyDataset)


def _is_fixed(one: Any) -> bool:
    """Whether something is certainly what it was: code, or what is equal by its value for ever."""
    own_hash: Any = type(one).__hash__
    is_value = own_hash not in (None, object.__hash__) and not hasattr(one, "__dict__")
    return isinstance(one, _CODE) or is_value


def _replaced(saved: Any, copies: Mapping[int, Any]) -> Any:
    """Return what is put into a container, with copies in the place of what was copied."""
    if isinstance(saved, dict):
        return {key: copies.get(id(one), one) for key, one in saved.items()}
    return [copies.get(id(one), one) for one in saved] if isinstance(saved, list) else saved


def _fill(one: Any, saved: Any) -> None:
    if isinstance(one, list):
        one[:] = saved
        return
    one.clear()
    (one.extend if isinstance(one, deque) else one.update)(saved)


def _set_attributes(one: Any, saved: Mapping[str, Any]) -> None:
    now = vars(one)
    for name in now.keys() - saved.keys():
        del now[name]
    now.update(saved)


def _set_values(one: Any, saved: Any) -> None:
    one[...] = saved


def _restore_generators(one: Any, first: _generators.First) -> None:
    _generators.restore([one], first)


def _ends(array: np.ndarray) -> bytes:
    """Return the values at both ends of an array, since a shuffle hardly leaves them."""
    return array.flat[:_LOOKED_AT].tobytes() + array.flat[-_LOOKED_AT:].tobytes()
