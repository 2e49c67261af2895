"""Frozen weights, say of a network that was trained before: in the store once for all trials."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna
from kerastune_optuna._backend import layers_within
from kerastune_optuna._scratch import scratch
from kerastune_optuna._storage import StoreSource, artifacts
from kerastune_optuna._study import StudyRecord, TrialRecord

_LEAST = 1 << 12  # bytes: smaller weights stay where they are
# The attribute of a file of weights that says which other files it needs. On an empty dataset in
# it, the attribute says which key the dataset has that was moved from there.
_PLACE = "kerastune_optuna:frozen"


def share(store: StoreSource, trial: optuna.Trial, path: Path, model: keras.Model) -> None:
    """Move the frozen weights of a file into a file of the store that other trials need too.

    The trial names the files that it needs before it looks again whether they are there, and `tidy`
    looks for such names after it has struck a file from the study. So one of them always notices
    what the other does.

    Args:
        store: Where weights are kept.
        trial: The trial.
        path: A file of its model's weights, which becomes smaller.
        model: Its model.
    """
    # Not weights of trainable layers that no optimizer changes, like a normalization's statistics.
    layers = (layer for layer in layers_within(model) if not layer.trainable)
    arrays = (keras.ops.convert_to_numpy(one) for layer in layers for one in layer.weights)
    frozen = {_key(array) for array in arrays if array.nbytes >= _LEAST}
    if not (moved := _found_in(path, frozen)):
        return
    study, own = trial.study, f"{uuid.uuid4()}.frozen"
    files = _files_with(set(moved.values()), study, store)
    while True:
        place_of = {key: name for name, keys in files.items() for key in keys}
        needed = {place_of.get(key, own) for key in moved.values()}
        TrialRecord(trial).frozen = sorted(needed)
        files = _files_with(set(moved.values()), study, store)
        if needed <= {*files, own}:
            break
    news = {key for key in moved.values() if key not in place_of}
    with scratch() as folder:
        rest, new = folder / "rest.h5", folder / "new.h5"
        _split(path, rest, new, moved, news)
        with h5py.File(rest, "a") as file:
            file.attrs[_PLACE] = sorted(needed)
        if news:
            artifacts.put(store, own, new)
            _optuna.set_attr(study, StudyRecord.FROZEN + own, sorted(news))
        shutil.move(rest, path)


def complete(store: StoreSource, path: Path) -> bool:
    """Bring the frozen weights back into a file; False where they are lost or damaged."""
    gaps: dict[str, str] = {}

    def note(place: str, one: h5py.Group | h5py.Dataset) -> None:
        if _PLACE in one.attrs:
            gaps[place] = one.attrs[_PLACE]

    with h5py.File(path, "r") as file:
        names = list(file.attrs.get(_PLACE, ()))
        file.visititems(note)
    for name in names:
        with scratch() as folder:
            if artifacts.fetch(store, name, folder / "frozen.h5"):
                _fill(path, folder / "frozen.h5", gaps)
    return not gaps


def tidy(study: optuna.Study, store: StoreSource, done: Set[int]) -> None:
    """Delete the files of frozen weights that no trial needs.

    Args:
        study: The study.
        store: Where they are.
        done: The numbers of the trials that keep no file of their own.
    """
    known = _optuna.attrs_below(study, StudyRecord.FROZEN)  # the keys of the weights in each file
    trials = study.get_trials(deepcopy=False)
    unneeded = _needed(trials, set()).union(known) - _needed(trials, done)
    for name in unneeded.intersection(known):
        _optuna.set_attr(study, StudyRecord.FROZEN + name, None)
    again = _needed(study.get_trials(deepcopy=False), done) if unneeded else set()
    for name in unneeded:
        if name not in again:
            artifacts.remove(store, name)
        elif name in known:
            _optuna.set_attr(study, StudyRecord.FROZEN + name, known[name])


def _needed(trials: Iterable[FrozenTrial], done: Set[int]) -> set[str]:
    """Return the names of the files that trials need, but for those that keep none of their own."""
    needing = (TrialRecord(trial).frozen or () for trial in trials if trial.number not in done)
    return {name for names in needing for name in names}


def _files_with(keys: Set[str], study: optuna.Study, store: StoreSource) -> dict[str, list[str]]:
    """Return the files of a study that have some of these weights, and are there."""
    files = _optuna.attrs_below(study, StudyRecord.FROZEN)
    found = {name: own for name, own in files.items() if not keys.isdisjoint(own)}
    return {name: own for name, own in found.items() if artifacts.is_there(store, name)}


def _key(array: NDArray[Any]) -> str:
    """Return what tells weights from others: a checksum of their type, shape and values."""
    kind = f"{array.dtype.kind}{array.dtype.itemsize}{array.shape}"
    total = hashlib.blake2b(kind.encode(), digest_size=12)
    total.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return total.hexdigest()


def _found_in(path: Path, keys: Set[str]) -> dict[str, str]:
    """Return the places of datasets of a file that have one of some keys, with their keys."""
    found: dict[str, str] = {}

    def note(place: str, one: h5py.Group | h5py.Dataset) -> None:
        is_of_numbers = isinstance(one, h5py.Dataset) and one.shape and not one.dtype.hasobject
        if is_of_numbers and one.nbytes >= _LEAST and (key := _key(one[()])) in keys:
            found[place] = key

    if keys:
        with h5py.File(path, "r") as file:
            file.visititems(note)
    return found


def _split(path: Path, rest: Path, new: Path, moved: Mapping[str, str], news: Set[str]) -> None:
    """Copy a file without the moved datasets, and the new ones among these into another file."""
    with (
        h5py.File(path, "r") as whole,
        h5py.File(rest, "w") as left,
        h5py.File(new, "w") as shared,
    ):
        left.attrs.update(whole.attrs)

        def copy(place: str, one: h5py.Group | h5py.Dataset) -> None:
            if isinstance(one, h5py.Group):
                left.create_group(place).attrs.update(one.attrs)
            elif (key := moved.get(place)) is None:
                whole.copy(one, left, place)
            else:
                left.create_dataset(place, data=h5py.Empty("f")).attrs[_PLACE] = key
                if key in news and key not in shared:
                    whole.copy(one, shared, key)

        whole.visititems(copy)


def _fill(path: Path, shared: Path, gaps: dict[str, str]) -> None:
    """Fill the gaps of a file with what another file holds undamaged, and drop them from `gaps`."""
    try:
        with h5py.File(path, "a") as file, h5py.File(shared, "r") as source:
            for place, key in list(gaps.items()):
                if key in source and _key(source[key][()]) == key:
                    del file[place]
                    source.copy(key, file, place)
                    del gaps[place]
    except OSError:
        return  # the file is damaged, and the gaps are left
