"""What a trial can be trained again from: the builder, the data and the callbacks of its search.

They are pickled into two files in the study's folder, once for each content. Only who asks for a
trial to be reproduced reads them: reading a pickle runs what is in it.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle

from kerastune_optuna._data import DatasetGraph, FitArguments, datasets, pack
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._scratch import open_private, scratch
from kerastune_optuna._storage import WholeFileStore, url
from kerastune_optuna._trial import Recipe

_FOLDER = "reproduce"  # in the folder of a study
_LARGEST = 100_000_000  # bytes of a file
_NOT = "nothing: "  # begins what is said in place of a file's name
_INSTEAD = "Train it by tuner.refit(), and compare the history that this returns."


@dataclass(frozen=True)
class Missing:
    """Stand for data that is not kept."""

    why: str

    def open(self) -> Any:
        """Say that it is not there.

        Raises:
            ArgumentError: Names the data.
        """
        raise ArgumentError(self.why)


@dataclass(frozen=True)
class _Pipeline(DatasetGraph):
    """Stand for a tf.data.Dataset by its graph, with the seeds that its shuffle() has."""

    def open(self) -> Any:
        """Rebuild the dataset."""
        return datasets.rebuild(self.graph, self.element_spec)


class _TooLargeError(Exception):
    """Say that a pickle grows too large."""


class _Room(io.BytesIO):
    """Take so many bytes and no more, before they fill the memory or a disk."""

    def write(self, content: Any) -> int:
        if self.tell() + memoryview(content).nbytes > _LARGEST:
            raise _TooLargeError
        return super().write(content)


def keep(folder: Path | None, recipe: Recipe, given: FitArguments) -> str:
    """Keep what the trials of a search can be trained again from.

    Args:
        folder: That of the study; None where it has none.
        recipe: What the trials share.
        given: The arguments as search() got them, where functions still stand for data.

    Returns:
        The name of the file, or "nothing: " and why it could not be written.
    """
    if folder is None:
        return f"{_NOT}with storage= and artifact_store= there is no directory"
    try:
        data = _write(folder, _pickled_data(given))
        fit = replace(given, x=None, y=None, validation_data=None, others={})
        # Not the user's own store, which may hold keys.
        shipped = replace(recipe, fit=fit, store=WholeFileStore(folder), card=None)
        return _write(folder, _pickled((sys.path, data, cloudpickle.dumps(shipped))))
    except _TooLargeError:
        return f"{_NOT}it has more than {_LARGEST / 1e6:.0f} MB"
    except Exception as error:  # the user's objects may refuse in any way, and a disk may be full
        return f"{_NOT}{type(error).__name__}: {url.without_passwords(str(error))}"


def load(folder: Path, name: str) -> Recipe:
    """Return what the trials of a search share. This runs code that lies in the folder.

    Args:
        folder: That of the study.
        name: What `keep` returned.

    Raises:
        ArgumentError: Nothing was kept, it is damaged, or its modules are not there.
    """
    path, data, shipped = pickle.loads(_read(folder, name))
    sys.path.extend(one for one in path if one not in sys.path)
    try:
        recipe: Recipe = pickle.loads(shipped)
        return replace(recipe, fit=replace(recipe.fit, **pickle.loads(_read(folder, data))))
    except (ImportError, AttributeError) as error:
        raise ArgumentError(
            f"What the search was made of is not there ({type(error).__name__}: {error}). Run this "
            f"where its modules can be imported. {_INSTEAD}"
        ) from error


def is_named(recipe: Recipe) -> bool:
    """Whether the pickle has no more than the name of the builder, whose code may have changed."""
    function = getattr(recipe.build_model, "func", recipe.build_model)  # through functools.partial
    found = sys.modules.get(getattr(function, "__module__", ""))
    for name in getattr(function, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is function


def discard(folder: Path) -> None:
    """Delete what a study kept; nothing where there is none."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def _pickled_data(given: FitArguments) -> bytes:
    """Return the pickled data of a search, without what is too large where it is too large."""
    data = {name: getattr(given, name) for name in ("x", "y", "validation_data")}
    packed = {name: _packed(name, value) for name, value in data.items()}
    others = {name: _packed(name, value) for name, value in given.others.items()}
    try:
        return _pickled({**packed, "others": others})
    except _TooLargeError:
        return _pickled({**_without_data(packed), "others": _without_data(others)})


def _packed(name: str, value: Any) -> Any:
    if datasets.is_tf_dataset(value) and datasets.held_by(value) > _LARGEST:
        return _missing(name)  # to write its graph would take seconds
    try:
        packed = pack(name, value, None)
    except ArgumentError as error:
        return Missing(str(error))
    is_graph = isinstance(packed, DatasetGraph)
    return _Pipeline(packed.graph, packed.element_spec) if is_graph else packed


def _without_data(packed: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if _is_small(value) else _missing(name) for name, value in packed.items()}


def _is_small(value: Any) -> bool:
    try:
        return len(_pickled(value)) <= _LARGEST // 10
    except _TooLargeError:
        return False


def _missing(name: str) -> Missing:
    return Missing(
        f"{name} was too large to be kept beside the study. Pass it again, to tuner.reproduce(), "
        "or search with a function that loads it."
    )


def _pickled(value: Any) -> bytes:
    room = _Room()
    cloudpickle.dump(value, room)
    return room.getvalue()


def _write(folder: Path, content: bytes) -> str:
    name = f"{hashlib.sha256(content).hexdigest()[:16]}.pkl"
    path = folder / _FOLDER / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(folder) as aside:
            with open_private(aside / name) as file:
                file.write(content)
            os.replace(aside / name, path)
    return name


def _read(folder: Path, name: str) -> bytes:
    if name.startswith(_NOT):
        raise ArgumentError(f"Nothing was kept to reproduce the trial from. {name}. {_INSTEAD}")
    path = folder / _FOLDER / name
    if not path.is_file():
        raise ArgumentError(
            f"There is no file {str(path)!r} to reproduce the trial from: pass the directory= of "
            "its search."
        )
    content = path.read_bytes()
    if not name.startswith(hashlib.sha256(content).hexdigest()[:16]):
        raise ArgumentError(f"The file {str(path)!r} is damaged: its checksum has changed.")
    return content
