"""The store of weights and backups: an Optuna artifact store in which files are always whole."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Protocol, TypeAlias, cast
from uuid import uuid4

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from kerastune_optuna import _optuna
from kerastune_optuna._exceptions import TunerError, WeightsError
from kerastune_optuna._signals import requested
from kerastune_optuna._storage import disks
from kerastune_optuna._storage.patience import Patience

# What artifact_store= may be: a store, or a function that each worker calls to open one.
StoreSource: TypeAlias = "ArtifactStore | Callable[[], ArtifactStore]"
_BUCKETS = ("bucket", "bucket_name")  # attributes for the bucket's name in Amazon and Google stores
_PATIENCE = 300.0  # seconds for which a store that raises errors is tried again
_FIRST_PATIENCE = 5.0  # the same for a store that has not worked yet: its keys may be wrong
_LEAST = 100_000  # bytes that the weights of a small model take
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Errors in code, and those of a folder that is missing or not accessible: a further try would raise
# the same error.
_FINAL = (
    *(FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError),
    *(AttributeError, ImportError, LookupError, MemoryError, NameError, NotImplementedError),
    *(TypeError, ValueError, TunerError),
)
# An artifact id of Optuna, or the name of a backup.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.backup)?")


class ArtifactStore(Protocol):
    """The methods that Optuna needs in an artifact store, for which it has no public type."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write a file."""

    def remove(self, artifact_id: str) -> None:
        """Remove a file."""


class StoreAwayError(WeightsError):
    """Raised when a store did not answer for as long as the search waits for it."""


class WholeFileStore(FileSystemArtifactStore):
    """Keep artifacts in a folder in which each file is always whole: the old one or the new one.

    Args:
        base_path: The folder.
    """

    def __init__(self, base_path: str | Path) -> None:
        super().__init__(base_path)
        self._folder = Path(base_path)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write a temporary file, sync it and rename it: Optuna's store overwrites the old one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path, aside = self._paths(artifact_id)
        try:
            aside.unlink(missing_ok=True)  # a killed process may have left it
            # Created anew: any member of a shared folder could put a symbolic link there.
            with open(aside, "xb") as file:
                shutil.copyfileobj(content_body, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except OSError:
            aside.unlink(missing_ok=True)  # half a file would fill a full disk for good
            raise
        if os.name != "nt":  # Windows cannot open folders
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # otherwise a power cut could undo the renaming
            finally:
                os.close(descriptor)

    def remove(self, artifact_id: str) -> None:
        """Remove the file, and the temporary file that a killed process may have left."""
        _, aside = self._paths(artifact_id)
        aside.unlink(missing_ok=True)
        super().remove(artifact_id)

    def _paths(self, name: str) -> tuple[Path, Path]:
        """Return the paths of a file and its temporary one; refuse a name that is a path."""
        if Path(name).name != name or name == "..":
            raise ValueError(f"{name!r} is not the name of a file in {str(self._folder)!r}")
        return self._folder / name, self._folder / f"{name}.part"


@dataclass(eq=False, repr=False)
class PatientStore:
    """Open a store when it is first needed, and retry what fails.

    The store is opened again after an error, since its keys may have expired.

    Args:
        source: The store, or the function that opens it.
    """

    _source: StoreSource
    _opened: ArtifactStore | None = field(init=False, default=None)
    _is_stale: bool = field(init=False, default=False)
    # The error text after waiting in vain, until an answer.
    _lost: str | None = field(init=False, default=None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what was passed alone: each process opens the store itself."""
        return PatientStore, (self._source,)

    def fetch(self, artifact_id: str, path: Path) -> bool:
        """Copy a file from the store; return False if it is not there."""

        def read(store: ArtifactStore) -> None:
            with store.open_reader(artifact_id) as reader, open(path, "wb") as file:
                shutil.copyfileobj(reader, file, 1 << 20)

        return self._found(artifact_id, read)

    def put(self, artifact_id: str, path: Path) -> None:
        """Copy a file into the store; a first signal to stop does not end the retries.

        Args:
            artifact_id: The file's name in the store.
            path: The file.
        """

        def write(store: ArtifactStore) -> None:
            folder, size = _optuna.folder_of(store), path.stat().st_size
            # Each try opens the file again, since a store may close it.
            with telling_room(folder, size), open(path, "rb") as file:
                store.write(artifact_id, file)

        self._insist(write, until=lambda: False)

    def upload(self, trial: optuna.Trial, path: Path) -> None:
        """Put a file into the store as an artifact, after writing its id into the trial.

        A process that dies in between leaves no file of which no trial knows. Optuna 5.0 writes in
        this order too, and 5.1 in the other one.
        """
        nowhere = cast("ArtifactStore", SimpleNamespace(write=lambda *_: None))
        name = optuna.artifacts.upload_artifact(
            artifact_store=nowhere, file_path=str(path), study_or_trial=trial
        )
        self.put(name, path)

    def remove(self, *artifact_ids: str) -> None:
        """Remove files from the store; ignore those that are gone, or are not ours."""
        for artifact_id in artifact_ids:
            self._found(artifact_id, methodcaller("remove", artifact_id))

    def check(self) -> None:
        """Write and remove a probe, to find out before training whether the store works.

        Raises:
            WeightsError: The store cannot be written.
        """
        # Others may check the same store at this moment.
        probe = f"kerastune_optuna-probe-{uuid4()}"

        def write_and_remove(opened: ArtifactStore) -> None:
            folder = _optuna.folder_of(opened)
            with telling_room(folder, _LEAST):
                opened.write(probe, io.BytesIO(b"probe"))
            try:
                opened.remove(probe)
            except Exception as error:  # a client may try again what the store has done already
                if not _says_gone(error):
                    raise

        try:
            self._insist(write_and_remove, seconds=_FIRST_PATIENCE)
        except Exception as error:  # stores have no common errors
            said = f"{type(error).__name__}: {error}".rstrip(".")
            if is_of_full_disk(error):
                raise WeightsError(
                    f"No weights can be kept: {said}. Make room there, or pass keep_best=0."
                ) from error
            raise WeightsError(
                f"artifact_store= cannot be written: {said}. Pass one that works, "
                "None for a folder in directory, or keep_best=0 to keep no weights."
            ) from error

    def name(self) -> str:
        """Return a name of the store, for messages."""
        opened = self._opened if callable(self._source) else self._source
        if opened is None:
            return "The artifact store"
        places = (_optuna.folder_of(opened), *(getattr(opened, name, None) for name in _BUCKETS))
        place = next((f" {str(one)!r}" for one in places if one is not None), "")
        return f"The artifact store {type(opened).__name__}{place}"

    def _found(self, artifact_id: object, do: Callable[[ArtifactStore], None]) -> bool:
        """Call `do` with the open store; return False if the file is gone, or is not ours.

        An id from the database that does not have our form could name any file.
        """
        if not (isinstance(artifact_id, str) and _ID.fullmatch(artifact_id)):
            return False
        try:
            self._insist(do)
        except Exception as error:  # each kind of store has its own error for a file that is gone
            if not _says_gone(error):
                raise
            return False
        return True

    def _insist(
        self,
        do: Callable[[ArtifactStore], None],
        *,
        seconds: float = _PATIENCE,
        until: Callable[[], bool] = requested,
    ) -> None:
        """Call `do` with the open store; retry if the store raises errors.

        After waiting in vain, each call tries only once, until the store answers again.

        Args:
            do: Takes the open store.
            seconds: For how long to retry.
            until: Returns whether to stop retrying before that; by default after an interrupt.

        Raises:
            StoreAwayError: The store did not answer in that time.
        """

        def ask() -> None:
            if self._opened is None or self._is_stale:
                source = self._source
                self._opened, self._is_stale = source() if callable(source) else source, False
            try:
                do(self._opened)
            except Exception:  # each kind of store has its own errors: raised again
                self._is_stale = True
                raise
            self._lost = None

        def give_up(told: str) -> StoreAwayError:
            self._lost = self._lost or told
            return StoreAwayError(f"{self._lost} Call again when it does.")

        Patience(0 if self._lost else seconds, self.name, may_pass, give_up).insist(
            ask, until=until
        )


def may_pass(error: BaseException) -> bool:
    """Whether another try may work after a store raised an error.

    Stores have no common errors, and many raise the same one for wrong keys and for expired keys.
    So only an error that is sure to come again is final.
    """
    has_no_bucket = type(error).__name__ == "NoSuchBucket"  # boto3 creates this class at run time
    return not (
        is_of_full_disk(error) or has_no_bucket or _says_gone(error) or isinstance(error, _FINAL)
    )


def is_of_full_disk(error: BaseException) -> bool:
    """Whether an error says that a disk has no room left."""
    return isinstance(error, OSError) and error.errno in _FULL


def _says_gone(error: BaseException) -> bool:
    # Google's store has its own NotFound.
    return isinstance(error, ArtifactNotFound) or type(error).__name__ == "NotFound"


@contextmanager
def telling_room(folder: str | None, needed: int) -> Iterator[None]:
    """Turn the error of a full disk into one that says how much room there is and how much we need.

    Args:
        folder: The folder that is written to; None if there is none to name.
        needed: About how many bytes will be written.

    Raises:
        OSError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if folder is None or not is_of_full_disk(error):
            raise
        raise OSError(error.errno, disks.room(Path(folder), needed)) from error
