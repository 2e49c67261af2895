"""The files that a trial has in the store, by kind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kerastune_optuna._storage import PatientStore
from kerastune_optuna._study import TrialRecord

# The endings of file names. Keras saves weights only to files with this ending, and
# optuna-dashboard shows files that end in ".csv" as tables.
KINDS = WEIGHTS, HISTORY, BACKUP = (".weights.h5", "history.csv", ".backup")


def ids(storage: BaseStorage, trial: FrozenTrial, kind: str) -> list[str]:
    """Return the names under which the store may have a trial's files of one kind."""
    if kind == BACKUP:
        return [one["id"] for one in chain(TrialRecord(trial).backup)]
    if kind == WEIGHTS and TrialRecord(trial).weights is None:
        return []  # most trials saved none, and a query for each of them may be slow
    saved = optuna.artifacts.get_all_artifact_meta(trial, storage=storage)
    return [meta.artifact_id for meta in saved if meta.filename.endswith(kind)]


def discard(store: PatientStore, storage: BaseStorage, trial: FrozenTrial, *kinds: str) -> None:
    """Delete a trial's files, of all kinds or the given; the storage keeps Optuna's records."""
    for kind in kinds or KINDS:
        store.remove(*ids(storage, trial, kind))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, by which a trial knows its own."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def chain(record: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a trial's backups, the latest first."""
    while record is not None:
        yield record
        record = record["previous"]
