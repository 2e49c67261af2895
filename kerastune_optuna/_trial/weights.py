"""The weights of the best trials: save them with checksums, and load them if they are intact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kerastune_optuna._backend import layers_within
from kerastune_optuna._exceptions import WeightsError
from kerastune_optuna._scratch import ScratchError, scratch
from kerastune_optuna._storage import PatientStore, telling_room
from kerastune_optuna._study import Home, TrialRecord
from kerastune_optuna._trial import architecture, failure, files, untrusted
from kerastune_optuna._trial.variables import (
    as_array,
    checksum,
    generators_of,
    lacks_variables,
    optimizers,
    size_of,
)

_OTHERS = "kerastune_optuna:variables"  # the group of a weights file for what Keras leaves out


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
            path = folder / f"trial_{trial.number:04d}{files.WEIGHTS}"
            with telling_room(str(folder), size_of(model)):
                _write(path, model)
            TrialRecord(trial).variables = checksum(model)
            architecture.put(path, model)
            TrialRecord(trial).weights = files.digest(path)
            store.upload(trial, path)
    except ScratchError:
        raise
    except Exception as error:  # the user's layers and stores may raise anything
        raise WeightsError(
            f"The weights of trial {trial.number} cannot be saved: {type(error).__name__}: "
            f"{error}. Its result is kept. Free disk space, fix the layer or the store, or "
            "pass keep_best=0 to keep no weights."
        ) from error


@dataclass(frozen=True)
class FromFiles:
    """Build the models of finished trials as their files describe them, without a builder."""

    home: Home

    def __call__(self, trial: Any) -> keras.Model:
        """Return the model of a trial, compiled, without its weights.

        Raises:
            WeightsError: The trial has no intact file, or its model has code that is not Keras's.
        """
        told = (
            f"The model of trial {trial.number} has code that is not Keras's, so its file alone "
            "does not build it. Make an OptunaTuner with the build_model of the search, and call "
            f"its best_model(trial={trial.number})."
        )
        with _fetched(self.home.store, self.home.storage, trial) as path:
            try:
                model = architecture.built_from(path)
            except Exception as error:  # the config may name what only the user's code registers
                raise WeightsError(f"{told} ({error!r:.200})") from error
        if model is None:
            raise WeightsError(told)
        return model


def load(store: PatientStore, storage: BaseStorage, trial: FrozenTrial, model: keras.Model) -> None:
    """Load the saved weights of a trial into its rebuilt model.

    Raises:
        MissingWeightsError: The trial has no saved weights.
        UnfitWeightsError: The weights do not fit the model, or were saved from a different model.
        WeightsError: The weights are damaged, or not all of them could be loaded.
    """
    with _fetched(store, storage, trial) as path:
        if not architecture.is_of(path, model):
            raise UnfitWeightsError(
                f"The model that build_model returns for the parameters of trial {trial.number} is "
                "not the one that was trained, and would not reproduce its value: its layers or "
                "their settings differ."
            )
        try:
            _read(path, model)
        except Exception as error:  # Keras raises many kinds of errors for weights that do not fit
            if failure.is_of_memory(error):
                raise
            raise UnfitWeightsError(
                f"The weights of trial {trial.number} do not fit the model that build_model "
                f"returns for its parameters: {error}"
            ) from error
    # When Keras loads weights, it silently skips layers that are not built.
    known = TrialRecord(trial).variables
    if lacks_variables(model) if known is None else known != checksum(model):
        raise WeightsError(
            f"The weights of trial {trial.number} could not all be loaded: the model that "
            f"build_model returns for its parameters has {len(model.weights)} variables, which are "
            "not those that were trained. Create all layers in the model's __init__, or call the "
            "model once on data in build_model, as in model(x[:1]), and search again."
        )


def _write(path: Path, model: keras.Model) -> None:
    """Save a model's weights, the states of its generators, and its LoRA weights as they are.

    Keras saves the sum of a kernel and its LoRA product instead. If the kernel is quantized, it
    rounds the sum, so the loaded model would evaluate to another value.

    The optimizers' states are not saved: they belong to the last epoch and would triple the file
    size.
    """
    layers = _layers_with_lora(model)
    for layer in layers:
        layer.lora_enabled = False
    try:
        keras.saving.save_weights(model, path, objects_to_skip=optimizers(model))
    finally:
        for layer in layers:
            layer.lora_enabled = True
    with h5py.File(path, "a") as file:
        for number, array in enumerate(map(as_array, _unsaved(model))):
            file[f"{_OTHERS}/{number}"] = array


def _read(path: Path, model: keras.Model) -> None:
    """Load a file that `_write` wrote into a model."""
    keras.saving.load_weights(model, path, objects_to_skip=optimizers(model))
    with h5py.File(path, "r") as file:
        saved = file.get(_OTHERS, {})
        # A builder that has changed may return a model with more or fewer generators.
        for number, variable in enumerate(_unsaved(model)[: len(saved)]):
            variable.assign(saved[str(number)][()])


def _unsaved(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that Keras does not save as they are."""
    layers = _layers_with_lora(model)
    weights = (weight for layer in layers for weight in layer.weights)
    return [*generators_of(model), *(one for one in weights if one.name.startswith("lora_"))]


def _layers_with_lora(model: keras.Model) -> list[keras.Layer]:
    return [one for one in layers_within(model) if getattr(one, "lora_enabled", False)]


@contextmanager
def _fetched(store: PatientStore, storage: BaseStorage, trial: FrozenTrial) -> Iterator[Path]:
    """Yield the path of an intact copy of a trial's weights."""
    with scratch() as folder:
        path = folder / f"weights{files.WEIGHTS}"
        # A trial that ran twice has two records. The older one comes first; its file may be gone.
        latest_first = reversed(files.ids(storage, trial, files.WEIGHTS))
        if not any(store.fetch(one, path) for one in latest_first):
            raise MissingWeightsError(_missing(trial, store.name()))
        if TrialRecord(trial).weights not in (None, files.digest(path)):
            raise WeightsError(
                f"The weights of trial {trial.number} are damaged: their checksum has changed."
            )
        try:
            untrusted.check_file(path)
        except Exception as error:  # HDF5 raises many kinds of errors for a file that is damaged
            raise WeightsError(
                f"The weights of trial {trial.number} are not as a search saves them, so nothing "
                f"of them is read ({error!r:.200})."
            ) from error
        yield path


def _missing(trial: FrozenTrial, store: str) -> str:
    """Return the error message for a trial that has no weights in a store."""
    if TrialRecord(trial).seed is None:
        return (
            f"There are no weights of trial {trial.number}, which only trials run by a tuner have. "
            "Pass the number of such a trial, as in best_model(trial=...), or train this one by "
            f"refit(x, y, trial={trial.number}, epochs=...)."
        )
    kept = "keep_best= sets how many trials keep their weights; directory= and artifact_store= "
    kept += "must be those of the search; a builder's own fit must train the model that it gets."
    return f"{store} has no weights of trial {trial.number}. {kept}"
