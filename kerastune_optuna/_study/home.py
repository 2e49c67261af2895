"""The home of a study: its name, folder, storage and store, and the study once it is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna
from kerastune_optuna._exceptions import (
    ArgumentError,
    NoTrialsError,
    StorageError,
    StudyMismatchError,
)
from kerastune_optuna._storage import (
    EXCLUDED,
    Location,
    PatientStore,
    StoreSource,
    WholeFileStore,
    connect,
    in_directory,
)
from kerastune_optuna._study import opening, ranking
from kerastune_optuna._study.card import Card
from kerastune_optuna._study.objectives import Objectives
from kerastune_optuna._study.record import TrialRecord


class Home:
    """Find a study, open it, and read its best trials.

    Args:
        name: The study's name.
        directory: The folder for the database and the weights, unless other places are given.
        objectives: The objectives that the study must have.
        storage: A database URL or an Optuna storage; None for SQLite in the directory.
        artifact_store: Where weights are kept; None for a folder in the directory.
        sampler: The sampler that the study gets when it is opened; None for Optuna's default.
        pruner: Takes the epochs of a trial, and returns the pruner that the study gets.
        overwrite: Whether to delete a study of that name before this process writes to it.
    """

    def __init__(
        self,
        name: str,
        directory: str | Path,
        objectives: Objectives,
        storage: str | BaseStorage | None = None,
        artifact_store: StoreSource | None = None,
        sampler: BaseSampler | None = None,
        pruner: Callable[[int], BasePruner] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self.name, self.objectives = name, objectives
        self.directory = Path(directory).absolute()  # the current folder may change later
        self.overwrite = overwrite
        self.has_begun = False  # whether this process has written to the study
        self._storage = None if storage is None else Location(storage).anchored()
        self._artifact_store = artifact_store
        self._sampler, self._pruner = sampler, pruner

    @classmethod
    def of(cls, study: optuna.Study, directory: str | Path, store: StoreSource | None) -> Home:
        """Return the home of a study that is open, whatever its name and its objectives are."""
        storage = _optuna.storage_of(study)
        home = cls(study.study_name, directory, Objectives.of(study), storage, store)
        home.study, home.storage = study, storage
        return home

    @cached_property
    def study(self) -> optuna.Study:
        """The study, which is created if it does not exist; a study that exists is only read."""
        with opening.quiet_optuna():
            study = opening.open_study(self.storage, self.name, self.objectives)
        study.sampler = self._sampler or study.sampler
        if self._pruner is not None:  # the study keeps this one until a search sets another
            study.pruner = self._pruner(Card.latest(study).epochs_in_all or 1)
        return study

    @property
    def existing(self) -> optuna.Study:
        """The study, for a caller that only reads: it is not created."""
        if self._is_to_go:
            raise NoTrialsError(
                f"overwrite=True: search() will delete study {self.name!r} and begin anew. Call it "
                "first, or make a tuner without overwrite=True to read the old trials."
            )
        if "study" not in self.__dict__ and self.name not in (names := self._names):
            place = f"directory={str(self.directory)!r}" if self._storage is None else "storage="
            others = ", ".join(map(repr, sorted(names)))
            instead = f"study_name= with one of {others}" if names else "another directory="
            raise NoTrialsError(
                f"{place} has no study {self.name!r}. Call search() first, or pass {instead}."
            )
        return self.study

    @property
    def may_be_read(self) -> bool:
        """Whether the study is open, or in the directory's database; a storage= is not queried."""
        is_there = "study" in self.__dict__ or (self._storage is None and self.name in self._names)
        return is_there and not self._is_to_go

    @property
    def _is_to_go(self) -> bool:
        """Whether the study is about to be deleted."""
        return self.overwrite and not self.has_begun

    @property
    def _names(self) -> list[str]:
        """The names of the studies in the storage, which is not created for this."""
        is_there = Location(self.storage_source).is_there
        return optuna.get_all_study_names(self.storage) if is_there else []

    @property
    def storage_source(self) -> str | BaseStorage:
        """The storage or its URL, by which other processes reach it."""
        return self._storage or in_directory(self.directory)

    @cached_property
    def storage(self) -> BaseStorage:
        """The storage, connected."""
        return connect(self._storage or in_directory(self.directory, make=True))

    @property
    def folder(self) -> Path:
        """The folder of the study's files."""
        return self.directory / self.name

    @property
    def store(self) -> PatientStore:
        """Where weights and backups are kept."""
        return PatientStore(self._artifact_store or WholeFileStore(self.folder / "weights"))

    def forget(self) -> None:
        """Forget the open study: the next use opens the study that has its name then."""
        self.__dict__.pop("study", None)

    @contextmanager
    def telling_of_deletion(self) -> Iterator[None]:
        """Raise an error of one line for a KeyError that comes from the loss of study or trial."""
        try:
            yield
        except KeyError as error:
            known = self.__dict__.get("study")
            if known is None:
                raise
            if _optuna.has_study(self.storage, _optuna.id_of(known)):
                if not _optuna.is_of_missing_row(error):
                    raise
                raise StorageError(
                    f"Study {self.name!r} no longer has a trial that ran here: an earlier state of "
                    "the database was put back while this process used it. Call this again to go "
                    "on from that state."
                ) from error
            self.forget()
            raise StudyMismatchError(
                f"Another process deleted study {self.name!r} while this one used it, as "
                "overwrite=True does, and as optuna-dashboard does to rename it: then the copy has "
                "the trials that ran here, without their weights, and otherwise they are lost. "
                "Call this again to use the study that has the name now, or pass another "
                "study_name."
            ) from error

    def top(self, n: int) -> list[FrozenTrial]:
        """Return the best `n` trials, or as many as there are.

        Raises:
            ArgumentError: There are several objectives.
            NoTrialsError: There is no COMPLETE trial.
        """
        if self.objectives.are_several:
            front = ranking.front(self.existing)
            numbers = ", ".join(str(trial.number) for trial in front) or "none yet"
            raise ArgumentError(
                f"Study {self.name!r} has several objectives, and none of its best trials is "
                f"better than the others: {numbers}. Compare them by best_trials, and pass the "
                "number of one, as in best_model(trial=...)."
            )
        if best := ranking.best(self.existing, self.objectives.watched, n):
            return best
        others = ranking.told_of_others(self.existing.get_trials(deepcopy=False))
        first = "Call search() first, with the directory or storage of the study you mean."
        raise NoTrialsError(f"Study {self.name!r} has 0 COMPLETE trials. {others or first}")

    def best(self, trial: int | FrozenTrial | None) -> FrozenTrial:
        """Return a COMPLETE trial, which may be given by its number, or the best one for None.

        Raises:
            ArgumentError: There are several objectives, and no number was given.
            NoTrialsError: There is no such trial.
        """
        if trial is None:
            return self.top(1)[0]
        trials = self.existing.get_trials(deepcopy=False)
        out = [one.number for one in trials if TrialRecord(one).excluded is not None]
        told = f"is not a COMPLETE trial{f' (excluded: {out})' * bool(out)}"
        return _found(trial, filter(ranking.may_be_best, trials), told)

    def begun(self, trial: int | FrozenTrial | None) -> FrozenTrial:
        """Return a trial that has begun, as `best` does for one that is COMPLETE."""
        if trial is None:
            return self.best(None)
        trials = self.existing.get_trials(deepcopy=False)
        begun = (one for one in trials if TrialRecord(one).has_begun)
        return _found(trial, begun, "has not begun")

    def exclude(self, trial: int | FrozenTrial, why: str | None) -> None:
        """Exclude a trial from the results, or include it again for None.

        Raises:
            NoTrialsError: There is no such trial, or it has no result.
        """
        ended = opening.finished(self.existing)
        found = _found(trial, ended, "is not COMPLETE or PRUNED")
        _optuna.set_attr(self.existing, f"{EXCLUDED}:{found.number}", why)


def _found(trial: int | FrozenTrial, among: Iterable[FrozenTrial], why_not: str) -> FrozenTrial:
    """Return one of some trials, which may be given by its number.

    Raises:
        NoTrialsError: It is not among them; the message lists their numbers.
    """
    number = trial.number if isinstance(trial, FrozenTrial) else trial
    known = {one.number: one for one in among}
    if number not in known:
        listed = ", ".join(map(str, sorted(known))) or "none"
        raise NoTrialsError(f"trial={number!r} {why_not}. Pass one of: {listed}.")
    return known[number]
