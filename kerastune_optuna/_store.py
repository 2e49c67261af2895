"""The store of weights and backups: an Optuna artifact store in which files are whole."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from kerastune_optuna._exceptions import WeightsError

if TYPE_CHECKING:
    import keras
    from optuna.artifacts._protocol import ArtifactStore

# What artifact_store= may be: a store, or a function that each worker calls to open one.
StoreSource: TypeAlias = "ArtifactStore | Callable[[], ArtifactStore]"


class WholeFileStore(FileSystemArtifactStore):
    """Keep artifacts in a folder in which a file is always whole: the old one or the new one.

    Args:
        base_path: The folder.
        sync: Whether a file is to outlive a power cut, for which the disk is waited for.
    """

    def __init__(self, base_path: str | Path, *, sync: bool = True) -> None:
        super().__init__(base_path)
        self._folder = Path(base_path)
        self._sync = sync

    def in_haste(self) -> WholeFileStore:
        """Return the same store, which waits for no disk."""
        return WholeFileStore(self._folder, sync=False)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write aside, sync, and rename: what Optuna's store does in place."""
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._aside(artifact_id)
        try:
            with open(aside, "wb") as file:
                shutil.copyfileobj(content_body, file, 1 << 20)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            os.replace(aside, self._folder / artifact_id)
        except OSError:
            aside.unlink(missing_ok=True)  # half a file would fill a full disk for good
            raise
        if self._sync:
            _sync_folder(self._folder)

    def remove(self, artifact_id: str) -> None:
        """Remove the file, and what a killed process left beside it."""
        self._aside(artifact_id).unlink(missing_ok=True)
        super().remove(artifact_id)

    def _aside(self, artifact_id: str) -> Path:
        return self._folder / f"{artifact_id}.part"


def open_store(source: StoreSource) -> ArtifactStore:
    """Return the store, calling the function that was passed in its place."""
    return source() if callable(source) else source


def open_in_haste(source: StoreSource) -> ArtifactStore:
    """Return the store, for small files that a power cut may take."""
    store = open_store(source)
    return store.in_haste() if isinstance(store, WholeFileStore) else store


def fetch(source: StoreSource, artifact_id: str, path: Path) -> bool:
    """Copy a file out of the store; False where it is not there."""
    try:
        with open_store(source).open_reader(artifact_id) as reader, open(path, "wb") as file:
            shutil.copyfileobj(reader, file, 1 << 20)
    except Exception as error:  # what each kind of store raises for a file that is gone
        if not _says_gone(error):
            raise
        return False
    return True


def put(source: StoreSource, artifact_id: str, path: Path) -> None:
    """Copy a file into the store."""
    with open(path, "rb") as file:
        open_store(source).write(artifact_id, file)


def remove(source: StoreSource, artifact_id: str) -> None:
    """Remove a file from the store; nothing where it is gone."""
    try:
        open_store(source).remove(artifact_id)
    except Exception as error:  # as in fetch
        if not _says_gone(error):
            raise


def _says_gone(error: Exception) -> bool:
    # Google's store has a NotFound of its own for it.
    return isinstance(error, ArtifactNotFound) or type(error).__name__ == "NotFound"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_store(store: StoreSource) -> None:
    """Write and remove a probe, so that a store that does not work is known before training.

    Raises:
        WeightsError: The store cannot be written.
    """
    probe = f"probe-{uuid.uuid4()}"
    try:
        opened = open_store(store)
        opened.write(probe, io.BytesIO(b"probe"))
        opened.remove(probe)
    except Exception as error:  # stores of any kind raise anything
        raise WeightsError(
            f"artifact_store= cannot be written: {type(error).__name__}: {error}. Pass one that "
            "works, None for a folder in directory, or keep_best=0 to keep no weights."
        ) from error


def folder_of(source: StoreSource) -> str | None:
    """Return the folder of a store that has one on this machine."""
    folder = getattr(open_store(source), "_base_path", None)
    return None if folder is None else str(folder)


def size_of(model: keras.Model) -> int:
    """Return how many bytes the weights of a model take."""
    return sum(weight.size * weight.itemsize for weight in model.get_weights())


@contextmanager
def telling_room(folder: str | None, needed: int) -> Iterator[None]:
    """Turn the error of a full disk into one that names the folder and the room that it takes.

    Args:
        folder: What is written to; None where there is none to name.
        needed: Bytes, at least about.

    Raises:
        OSError: With these in its text.
    """
    try:
        yield
    except OSError as error:
        if folder is None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free
        raise OSError(
            error.errno,
            f"{folder!r} has {free / 1e6:.1f} MB free and {needed / 1e6:.1f} MB are needed",
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut, where the system can."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
