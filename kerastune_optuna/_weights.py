"""The weights of the best trials: whole files in an Optuna artifact store."""

from __future__ import annotations

import io
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import keras
import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from kerastune_optuna._exceptions import WeightsError

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

# What artifact_store= may be: a store, or a function that each worker calls to open one.
StoreSource: TypeAlias = "ArtifactStore | Callable[[], ArtifactStore]"

_SUFFIX = ".weights.h5"  # Keras saves weights only under names that end so


class WholeFileStore(FileSystemArtifactStore):
    """Keep artifacts in a folder in which a file is always whole: the old one or the new one."""

    def __init__(self, base_path: str | Path) -> None:
        super().__init__(base_path)
        self._folder = Path(base_path)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write aside, sync, and rename: what Optuna's store does in place."""
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._aside(artifact_id)
        with open(aside, "wb") as file:
            while block := content_body.read(1 << 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self._folder / artifact_id)
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


def save(store: StoreSource, trial: optuna.Trial, model: keras.Model) -> None:
    """Save the model's weights as an artifact of its trial.

    The optimizer's state stays out: it is that of the last epoch, and triples the file.

    Raises:
        WeightsError: The model cannot be saved, or the store cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"trial_{trial.number:04d}{_SUFFIX}")
        try:
            keras.saving.save_weights(model, path, objects_to_skip=[model.optimizer])
            optuna.artifacts.upload_artifact(
                artifact_store=open_store(store), file_path=path, study_or_trial=trial
            )
        except Exception as error:  # layers of the user and stores of any kind raise anything
            raise WeightsError(
                f"The weights of trial {trial.number} cannot be saved: {type(error).__name__}: "
                f"{error}. Mend the layer or the store, or pass keep_best=0 to keep no weights."
            ) from error


def load(store: StoreSource, storage: BaseStorage, trial: FrozenTrial, model: keras.Model) -> None:
    """Load the kept weights of a trial into its rebuilt model.

    Raises:
        WeightsError: The trial kept no weights, or they do not fit the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"weights{_SUFFIX}")
        _fetch(open_store(store), storage, trial, path)
        try:
            keras.saving.load_weights(model, path, objects_to_skip=[model.optimizer])
        except Exception as error:  # Keras raises many kinds for weights that do not fit
            raise WeightsError(
                f"The weights of trial {trial.number} do not fit the model that build_model "
                f"returns for its parameters: {error} Restore the builder of that search."
            ) from error


def discard(store: StoreSource, storage: BaseStorage, trial: FrozenTrial) -> None:
    """Delete the kept weights of a trial; nothing where it has none."""
    for artifact_id in _artifact_ids(storage, trial):
        try:
            open_store(store).remove(artifact_id)
        except Exception as error:  # what each kind of store raises for a file that is gone
            # The record outlives the file; Google's store has a NotFound of its own for it.
            if type(error).__name__ not in ("ArtifactNotFound", "NotFound"):
                raise


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


def has(storage: BaseStorage, trial: FrozenTrial) -> bool:
    """Whether the trial ever saved weights."""
    return bool(_artifact_ids(storage, trial))


def _fetch(store: ArtifactStore, storage: BaseStorage, trial: FrozenTrial, path: str) -> None:
    """Copy the last weights that the trial saved out of the store."""
    # A trial that ran twice has two records, and the earlier file may be gone.
    for artifact_id in reversed(_artifact_ids(storage, trial)):
        try:
            optuna.artifacts.download_artifact(
                artifact_store=store, file_path=path, artifact_id=artifact_id
            )
        except ArtifactNotFound:
            continue
        return
    raise WeightsError(
        f"No weights of trial {trial.number} are kept. keep_best= says how many trials keep "
        "theirs while a search runs; directory= and artifact_store= must be those of the search."
    )


def _artifact_ids(storage: BaseStorage, trial: FrozenTrial) -> list[str]:
    """Return the ids of the weights that a trial saved, oldest first."""
    saved = optuna.artifacts.get_all_artifact_meta(trial, storage=storage)
    return [meta.artifact_id for meta in saved if meta.filename.endswith(_SUFFIX)]


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut, where the system can."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
