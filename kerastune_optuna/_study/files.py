"""The files that trials have in the store, by kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kerastune_optuna._storage import PatientStore
from kerastune_optuna._study.record import TrialRecord


@dataclass(frozen=True)
class TrialFiles:
    """Find, fetch and delete the files of the trials of a study.

    Args:
        store: The store in which they are kept.
        storage: The storage of the study.
    """

    # The endings of file names. Keras saves weights only to files with this ending, and
    # optuna-dashboard shows files that end in ".csv" as tables.
    WEIGHTS: ClassVar[str] = ".weights.h5"
    HISTORY: ClassVar[str] = "history.csv"
    BACKUP: ClassVar[str] = ".backup"

    store: PatientStore
    storage: BaseStorage

    def ids(self, trial: FrozenTrial, kind: str) -> list[str]:
        """Return the names under which the store may have a trial's files of one kind.

        The oldest comes first. A trial that ran twice has two of a kind, and the file of the older
        one may be gone.
        """
        if kind == self.BACKUP:
            return [one["id"] for one in self.backups(TrialRecord(trial).backup)][::-1]
        if kind == self.WEIGHTS and TrialRecord(trial).weights is None:
            return []  # most trials saved none, and a query for each of them may be slow
        saved = optuna.artifacts.get_all_artifact_meta(trial, storage=self.storage)
        return [meta.artifact_id for meta in saved if meta.filename.endswith(kind)]

    @staticmethod
    def backups(record: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
        """Yield the records of a trial's backups, the latest first."""
        while record is not None:
            yield record
            record = record["previous"]

    def fetch(self, trial: FrozenTrial, kind: str, path: Path) -> bool:
        """Copy a trial's latest file of one kind to a path; return whether there is one."""
        return any(self.store.fetch(one, path) for one in reversed(self.ids(trial, kind)))

    def discard(self, trial: FrozenTrial, *kinds: str) -> None:
        """Delete a trial's files, of all kinds or the given; the storage keeps Optuna's records."""
        for kind in kinds or (self.WEIGHTS, self.HISTORY, self.BACKUP):
            self.store.remove(*self.ids(trial, kind))
