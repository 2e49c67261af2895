"""The weights of the best trials: save them, and load what is intact and holds arrays alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import keras
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _architecture, _digest
from kerastune_optuna._backend import layers_within
from kerastune_optuna._exceptions import WeightsError
from kerastune_optuna._scratch import ScratchError, scratch
from kerastune_optuna._storage import PatientStore, telling_room
from kerastune_optuna._study import TrialFiles, TrialRecord
from kerastune_optuna._trial import failure
from kerastune_optuna._trial.variables import (
    as_array,
    checksum,
    generators_of,
    optimizers,
)

# What a weights file has beside Keras's weights.
_OTHERS = "kerastune_optuna:variables"  # the group with the variables that Keras leaves out
_SETTINGS = "kerastune_optuna:settings"  # the attribute with the digest of what the model computes
_CONFIG = "kerastune_optuna:config"  # the dataset with the config, of which Keras builds the model


class UnfitWeightsError(WeightsError):
    """Signal that saved weights do not fit the model that build_model returns now."""


class MissingWeightsError(WeightsError):
    """Signal that a trial keeps no weights, or that the store does not have them."""


def save(store: PatientStore, trial: optuna.Trial, model: keras.Model) -> None:
    """Save the model's weights as an artifact of its trial.

    Raises:
        ScratchError: The temporary folder cannot be used.
        WeightsError: The model cannot be saved, or the store cannot be written.
    """
    try:
        with scratch() as folder:
            path = folder / f"trial_{trial.number:04d}{TrialFiles.WEIGHTS}"
            with telling_room(str(folder), sum(one.nbytes for one in model.get_weights())):
                _write(path, model)
            TrialRecord(trial).variables = checksum(model)
            TrialRecord(trial).weights = _digest.of_file(path)
            store.upload(trial, path)
    except ScratchError:
        raise
    except Exception as error:  # the user's layers and stores may raise anything
        raise WeightsError(
            f"The weights of trial {trial.number} cannot be saved: {type(error).__name__}: "
            f"{error}. Its result is kept. Free disk space, fix the layer or the store, or "
            "pass keep_best=0 to keep no weights."
        ) from error


def config_of(files: TrialFiles, trial: FrozenTrial) -> Any:
    """Return the config of a trial's model; None if its weights file has none that can be read.

    Raises:
        WeightsError: The trial has no intact file.
    """
    with _fetched(files, trial) as path, h5py.File(path, "r") as file, suppress(Exception):
        return json.loads(file[_CONFIG][()])  # a search saves none of a model with own code
    return None


def load(files: TrialFiles, trial: FrozenTrial, model: keras.Model) -> None:
    """Load the saved weights of a trial into its rebuilt model.

    Raises:
        MissingWeightsError: The trial has no saved weights.
        UnfitWeightsError: The weights do not fit the model, or were saved from a different model.
        WeightsError: The weights are damaged, or not all of them could be loaded.
    """
    with _fetched(files, trial) as path:
        with h5py.File(path, "r") as file:
            is_trained = file.attrs.get(_SETTINGS) == _architecture.digest_of(model)
        if not is_trained:
            raise UnfitWeightsError(
                f"The model that build_model returns for the parameters of trial {trial.number} is "
                "not the one that was trained, and would not reproduce its value: its layers or "
                "their settings differ."
            )
        try:
            keras.saving.load_weights(model, path, objects_to_skip=optimizers(model))
            with h5py.File(path, "r") as file:
                saved = file.get(_OTHERS, {})
                # A builder that has changed may return a model with more or fewer generators.
                for number, variable in enumerate(_unsaved(model)[: len(saved)]):
                    variable.assign(saved[str(number)][()])
        except Exception as error:  # Keras raises many kinds of errors for weights that do not fit
            if failure.is_of_memory(error):
                raise
            raise UnfitWeightsError(
                f"The weights of trial {trial.number} do not fit the model that build_model "
                f"returns for its parameters: {error}"
            ) from error
    # When Keras loads weights, it silently skips layers that are not built.
    if TrialRecord(trial).variables != checksum(model):
        raise WeightsError(
            f"The weights of trial {trial.number} could not all be loaded: the model that "
            f"build_model returns for its parameters has {len(model.weights)} variables, which are "
            "not those that were trained. Create all layers in the model's __init__, or call the "
            "model once on data in build_model, as in model(x[:1]), and search again."
        )


def _write(path: Path, model: keras.Model) -> None:
    """Save a model's weights, its LoRA weights as they are, and all else that makes it again.

    Keras saves the sum of a kernel and its LoRA product instead. If the kernel is quantized, it
    rounds the sum, so the loaded model would evaluate to another value.

    The optimizers' states are not saved: they belong to the last epoch and would triple the file
    size.
    """
    layers = [one for one in layers_within(model) if getattr(one, "lora_enabled", False)]
    for layer in layers:
        layer.lora_enabled = False
    try:
        keras.saving.save_weights(model, path, objects_to_skip=optimizers(model))
    finally:
        for layer in layers:
            layer.lora_enabled = True
    config = None
    if not _architecture.has_own_code(model):
        # A loss or metric of the user may raise anything, and the search needs no config.
        with suppress(Exception):
            config = json.dumps(keras.saving.serialize_keras_object(model))
    with h5py.File(path, "a") as file:
        for number, array in enumerate(map(as_array, _unsaved(model))):
            file[f"{_OTHERS}/{number}"] = array
        file.attrs[_SETTINGS] = _architecture.digest_of(model)
        if config is not None:
            file[_CONFIG] = config  # an attribute holds 64 KB at most


def _unsaved(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that Keras does not save as they are."""
    return [*generators_of(model), *(one for one in model.weights if one.name.startswith("lora_"))]


@contextmanager
def _fetched(files: TrialFiles, trial: FrozenTrial) -> Iterator[Path]:
    """Yield the path of an intact copy of a trial's weights."""
    with scratch() as folder:
        path = folder / f"weights{TrialFiles.WEIGHTS}"
        if not files.fetch(trial, TrialFiles.WEIGHTS, path):
            if TrialRecord(trial).seed is None:
                raise MissingWeightsError(
                    f"There are no weights of trial {trial.number}, which only trials run by a "
                    "tuner have. Pass the number of such a trial, as in best_model(trial=...), or "
                    f"train this one by refit(x, y, trial={trial.number}, epochs=...)."
                )
            raise MissingWeightsError(
                f"{files.store.name()} has no weights of trial {trial.number}. keep_best= sets how "
                "many trials keep their weights; directory= and artifact_store= must be those of "
                "the search; a builder's own fit must train the model that it gets."
            )
        if TrialRecord(trial).weights != _digest.of_file(path):
            raise WeightsError(
                f"The weights of trial {trial.number} are damaged: their checksum has changed."
            )
        try:
            _check_file(path)
        except Exception as error:  # HDF5 raises many kinds of errors for a file that is damaged
            raise WeightsError(
                f"The weights of trial {trial.number} are not as a search saves them, so nothing "
                f"of them is read ({error!r:.200})."
            ) from error
        yield path


def _check_file(path: Path) -> None:
    """Reject an HDF5 file with anything but plain arrays, since a search saves nothing else.

    HDF5 may read arrays from other files, and a small file may claim to hold large ones. The
    reader of Keras 3.10 does not check this, and newer ones only check what they read themselves.

    Raises:
        Exception: The file has more than arrays, or is damaged.
    """
    size = 0
    with h5py.File(path, "r") as file:
        parts = [file]
        file.visititems(lambda _, part: parts.append(part))  # follows hard links alone, each once
        for part in parts:
            held = [part.attrs.get_id(name) for name in part.attrs]
            if isinstance(part, h5py.Dataset):
                held.append(part)
                if part.external or part.is_virtual or part.chunks:
                    raise ValueError(f"{part.name!r} is not stored as one piece in the file")
            elif {part.get(name, getclass=True, getlink=True) for name in part} - {h5py.HardLink}:
                raise ValueError(f"{part.name!r} has a link to somewhere else")
            # A text has a length of its own, and many elements may refer to one.
            if any(one.dtype.hasobject and one.shape != () for one in held):
                raise ValueError(f"{part.name!r} refers to other places in the file")
            size += sum(math.prod(one.shape) * one.dtype.itemsize for one in held)
    # Nothing is compressed, so what is stored takes at least as much room in the file.
    if size > path.stat().st_size:
        raise ValueError("it claims to hold more than there is in the file")
