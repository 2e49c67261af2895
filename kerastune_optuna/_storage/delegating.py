"""The base of our storages, each of which stands in front of another one."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from optuna.storages import BaseStorage


class Delegating(BaseStorage):
    """Pass each call to a storage behind this one.

    Args:
        backend: Any Optuna storage.
    """

    def __init__(self, backend: BaseStorage) -> None:
        # Named as in Optuna's _CachedStorage, so that database.behind() unwraps all.
        self._backend = backend

    def __reduce__(self) -> Any:
        """Pickle as the backend does, whose copy gets the same storages in front of it."""
        return self._backend.__reduce__()

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Pass a call on; a subclass may act on all calls here."""
        return getattr(self._backend, name)(*args, **kwargs)


def _passing_on(name: str) -> Callable[..., Any]:
    """Return a method that makes a call by `_call`, as subclasses define it."""
    return lambda self, *args, **kwargs: self._call(name, *args, **kwargs)


for _name in vars(BaseStorage):
    if not _name.startswith("_"):
        setattr(Delegating, _name, _passing_on(_name))
abc.update_abstractmethods(Delegating)  # type: ignore[type-abstract] # no longer abstract
