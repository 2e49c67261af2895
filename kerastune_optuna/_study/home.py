"""The home of a study: its name, folder, storage and store, and the study once it is open."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna
from kerastune_optuna._exceptions import (
    ArgumentError,
    ArgumentTypeError,
    NoTrialsError,
    StorageError,
    StudyMismatchError,
)
from kerastune_optuna._storage import (
    EXCLUDED,
    FILE,
    Location,
    PatientStore,
    StoreSource,
    WholeFileStore,
    connect,
    in_directory,
)
from kerastune_optuna._study.card import Card
from kerastune_optuna._study.files import TrialFiles
from kerastune_optuna._study.objectives import Objectives, directions_of
from kerastune_optuna._study.ranking import Ranking
from kerastune_optuna._study.record import StudyRecord, TrialRecord

_UNFIT = set('/\\:*?"<>|\0')  # characters that are not allowed in the name of a folder
_LONGEST = 255  # bytes of a folder's name on Linux; most letters that are not English have 2 or 3


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
        self.folder = self.directory / name  # of the study's files
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

    @staticmethod
    def check_name(name: object) -> None:
        """Refuse a study name that cannot also be the name of a folder."""
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"study_name={name!r} is not a string. Pass a name like 'iris'."
            )
        is_long = len(name) > 200 or len(name.encode(errors="replace")) > _LONGEST
        if not name.strip() or name.startswith(".") or _UNFIT & set(name) or is_long:
            raise ArgumentError(
                f"study_name={name!r} cannot name a folder. Pass up to 200 characters of at most "
                f"{_LONGEST} bytes, without slashes or a leading dot, like 'iris-2'."
            )
        if name.lower().startswith(FILE):
            raise ArgumentError(
                f"study_name={name!r} is the name of a file in directory=, so the study cannot "
                "have its folder there. Pass another name, like 'iris-2'."
            )

    @staticmethod
    def load_study(
        source: str | BaseStorage, name: str | None, how: str, patience: float | None = 0.0
    ) -> optuna.Study:
        """Return an existing study, without creating or writing anything.

        Args:
            source: The directory= of a search, or its storage or the URL of that.
            name: The name of the study; None if there is only one.
            how: How to pass a name, as in "--study with one of".
            patience: Seconds for which each call is retried while the storage does not answer; None
                for as many as a search waits.

        Raises:
            ArgumentError: There are several studies, or none of that name.
            StorageError: There is no database, or it cannot be opened.
        """
        if isinstance(source, str) and "://" not in source:
            source = in_directory(Path(source))
        shown, wholes = Location(source).shown, {}
        if Location(source).is_there:  # otherwise SQLite would make the file
            storage = connect(source, patience, make=False)
            wholes = {one.study_name: StudyRecord(one).part_of for one in storage.get_all_studies()}
        if not wholes:
            raise StorageError(
                f"{shown} holds no study. Pass the directory= of a search that has begun, or the "
                "URL of its storage."
            )
        searches = [study for study, whole in wholes.items() if whole is None]
        if name is None and len(searches) == 1:
            name = searches[0]
        if name not in wholes:
            came = "holds several studies" if name is None else f"holds no study {name!r}"
            raise ArgumentError(f"{shown} {came}. Pass {how}: {', '.join(sorted(wholes))}.")
        return optuna.load_study(study_name=name, storage=storage)

    def part(self, name: str) -> optuna.Study:
        """Return a study that is part of this one, which is created if it does not exist."""
        home = Home(name, self.directory, self.objectives)
        home.storage = self.storage
        StudyRecord(home.study).part_of = self.name
        return home.study

    def find(self) -> optuna.Study | None:
        """Return the study of exactly that name; None if there is none. Nothing is written."""
        try:
            study = optuna.load_study(study_name=self.name, storage=self.storage)
            # MySQL ignores case when it looks up a name.
            stored = self.storage.get_study_name_from_id(_optuna.id_of(study))
            return study if stored == self.name else None
        except KeyError:
            return None

    def name_metrics(self, study: optuna.Study) -> None:
        """Name the metrics of a study that is about to be written to, unless they have names."""
        if study.metric_names is None:
            # Optuna marks set_metric_names as experimental since 3.2, but has not changed it.
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                study.set_metric_names(self.objectives.names)

    def _open(self) -> optuna.Study:
        """Return the study, which is created if it does not exist.

        Raises:
            StudyMismatchError: The study exists with another objective or direction, or the
                database treats this name as that of another study.
        """
        name, objectives = self.name, self.objectives
        study = existing = self.find()
        if study is None:
            study = optuna.create_study(
                storage=self.storage,
                study_name=name,
                directions=objectives.directions,
                load_if_exists=True,
            )
            if (found := study.study_name) != name:  # the name in the database
                raise StudyMismatchError(
                    f"Study {name!r} cannot be created, since study {found!r} exists: to the "
                    f"database, the two names are equal. Pass study_name={found!r} to continue "
                    "that study, or a name that differs by more than capitals."
                )
        ways, names = directions_of(study), study.metric_names or objectives.names
        if ways != objectives.directions or names != objectives.names:
            raise StudyMismatchError(
                f"Study {name!r} exists with another objective: {' and '.join(ways)} "
                f"{' and '.join(names)}, not {' and '.join(objectives.directions)} "
                f"{' and '.join(objectives.names)}. Pass another study_name, or overwrite=True to "
                "start anew."
            )
        if existing is None:
            self.name_metrics(study)
        return study

    @cached_property
    def study(self) -> optuna.Study:
        """The study, which is created if it does not exist; a study that exists is only read."""
        with _optuna.quiet():
            study = self._open()
        study.sampler = self._sampler or study.sampler
        if self._pruner is not None:  # the study keeps this one until a search sets another
            study.pruner = self._pruner(Card.latest(study).epochs_in_all or 1)
        return study

    @property
    def existing(self) -> optuna.Study:
        """The study, for a caller that only reads: it is not created."""
        if self.overwrite and not self.has_begun:
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
        if self.overwrite and not self.has_begun:
            return False
        return "study" in self.__dict__ or (self._storage is None and self.name in self._names)

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
    def store(self) -> PatientStore:
        """Where weights and backups are kept."""
        return PatientStore(self._artifact_store or WholeFileStore(self.folder / "weights"))

    @property
    def files(self) -> TrialFiles:
        """The files of the study's trials."""
        return TrialFiles(self.store, self.storage)

    def forget(self) -> None:
        """Forget the open study: the next use opens the study that has its name then."""
        self.__dict__.pop("study", None)

    @contextmanager
    def telling_of_deletion(self) -> Iterator[None]:
        """Raise an error of one line for a KeyError that comes from the loss of study or trial."""
        try:
            yield
        except KeyError as error:
            study = self.__dict__.get("study")
            if study is None:
                raise
            is_there = _optuna.has_study(self.storage, _optuna.id_of(study))
            if is_there and not _optuna.is_of_missing_row(error):
                raise
            self.forget()
            raise StudyMismatchError(
                f"Another process deleted study {self.name!r} while this one used it, as "
                "overwrite=True does, and as optuna-dashboard does to rename it, or an earlier "
                "state of the database was put back. Trials that ran here may be lost, or have "
                "lost their weights. Call this again to use the study that has the name now, or "
                "pass another study_name."
            ) from error

    def top(self, n: int) -> list[FrozenTrial]:
        """Return the best `n` trials, or as many as there are.

        Raises:
            ArgumentError: There are several objectives.
            NoTrialsError: There is no COMPLETE trial.
        """
        if self.objectives.are_several:
            front = Ranking.front(self.existing)
            numbers = ", ".join(str(trial.number) for trial in front) or "none yet"
            raise ArgumentError(
                f"Study {self.name!r} has several objectives, and none of its best trials is "
                f"better than the others: {numbers}. Compare them by best_trials, and pass the "
                "number of one, as in best_model(trial=...)."
            )
        trials = self.existing.get_trials(deepcopy=False)
        if best := Ranking.by(self.objectives.watched, trials, n):
            return best
        others = StudyRecord(self.existing).told_of_others
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
        complete = (one for one in trials if TrialRecord(one).ending.may_be_best)
        return _found(trial, complete, told)

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
        found = _found(trial, StudyRecord(self.existing).finished, "is not COMPLETE or PRUNED")
        _optuna.set_attr(self.existing, f"{EXCLUDED}:{found.number}", why)


def _found(trial: int | FrozenTrial, among: Iterable[FrozenTrial], why_not: str) -> FrozenTrial:
    """Return one of some trials, which may be given by its number.

    Raises:
        NoTrialsError: It is not among them; the message lists their numbers.
    """
    number = trial.number if isinstance(trial, FrozenTrial) else trial
    by_number = {one.number: one for one in among}
    if number not in by_number:
        listed = ", ".join(map(str, sorted(by_number))) or "none"
        raise NoTrialsError(f"trial={number!r} {why_not}. Pass one of: {listed}.")
    return by_number[number]
