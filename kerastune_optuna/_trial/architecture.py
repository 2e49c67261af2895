"""What a model computes, stored in its weights file: a digest, and how Keras builds it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import h5py
import keras
import numpy as np

from kerastune_optuna._backend import layers_within
from kerastune_optuna._source import digest
from kerastune_optuna._trial import untrusted

_PLACE = "kerastune_optuna:settings"  # the attribute of the HDF5 file that holds the digest
_CONFIG = (
    "kerastune_optuna:config"  # the dataset with the config, from which Keras builds the model
)
# Settings that the digest leaves out: they differ from build to build, depend on where the code is,
# or are contained elsewhere in the digest.
_LEFT_OUT = set(
    "batch_input_shape batch_shape build_config build_input_shape compile_config layers module "
    "name registered_name seed shared_object_id trainable vocabulary_size".split()
)


def put(path: Path, model: keras.Model) -> None:
    """Write the digest of what a model computes, and its config, into its weights file."""
    config = None if has_own_code(model) else _serialized(model)
    with h5py.File(path, "a") as file:
        file.attrs[_PLACE] = digest_of(model)
        if config is not None:
            file[_CONFIG] = config  # an attribute holds 64 KB at most


def _serialized(model: keras.Model) -> str | None:
    """Return the config of a compiled model as JSON; None if a loss or metric has none."""
    try:
        return json.dumps(keras.saving.serialize_keras_object(model))
    except Exception:  # a loss or metric of the user may raise anything, and the search needs none
        return None


def built_from(path: Path) -> keras.Model | None:
    """Return the compiled model of a weights file, without weights; None if its config is missing.

    Raises:
        Exception: A part of the model is not Keras's own.
    """
    with h5py.File(path, "r") as file:
        if _CONFIG not in file:
            return None
        config = json.loads(file[_CONFIG][()])
    untrusted.check_config(config)
    with keras.saving.custom_object_scope({}):  # otherwise any string may name the user's objects
        return keras.saving.deserialize_keras_object(config)


def is_of(path: Path, model: keras.Model) -> bool:
    """Whether a weights file has the digest of a model, or no digest at all."""
    with h5py.File(path, "r") as file:
        return file.attrs.get(_PLACE) in (None, digest_of(model))  # earlier versions wrote none


def digest_of(model: keras.Model) -> str:
    """Return a digest of what a model computes: the same for each build of it, in any process."""
    layers = [model, *layers_within(model)]
    # An InputLayer computes nothing, and a model that was returned unbuilt has none.
    told = [_told(layer) for layer in layers if type(layer) is not keras.layers.InputLayer]
    return digest(json.dumps(told).encode())


def has_own_code(model: keras.Model) -> bool:
    """Whether a model has code that is not Keras's, which its settings do not show."""
    return any(not _is_of_keras(one) or _calls_own(one) for one in [model, *layers_within(model)])


def _is_of_keras(layer: keras.Layer) -> bool:
    own = isinstance(layer, keras.layers.Lambda)
    return type(layer).__module__.startswith("keras.") and not own


def _calls_own(layer: keras.Layer) -> bool:
    """Whether a layer of Keras calls a function that is not Keras's, as an activation may be."""
    held = (one for one in vars(layer).values() if isinstance(one, FunctionType))
    return not all(one.__module__.startswith("keras.") for one in held)


def _told(layer: keras.Layer) -> list[Any]:
    """Return a layer's class, dtype policy and settings; for a model, also its connections."""
    config = _config(layer)
    parts = layers if isinstance(layers := config.get("layers"), list) else []
    nodes = [one for one in parts if isinstance(one, Mapping) and "inbound_nodes" in one]
    # Names differ from build to build, so connections refer to the positions of layers instead.
    places = {one["name"]: place for place, one in enumerate(nodes)}
    wires = [one["inbound_nodes"] for one in nodes]
    return [type(layer).__name__, layer.dtype_policy.name, _plain([config, wires], places)]


def _config(layer: keras.Layer) -> Mapping[str, Any]:
    """Return a layer's config without the configs of its sublayers, which the digest has too."""
    # Initializers may contain matrices, which Keras would turn into long lists of numbers.
    initializers = (one for one in vars(layer).values() if isinstance(one, keras.Initializer))
    # Keras warns that a lambda in a config is unsafe to load; this config is only compared.
    with _silent([*layers_within(layer), *initializers]), warnings.catch_warnings(action="ignore"):
        try:
            config = layer.get_config()
        except Exception:  # Keras raises if get_config() is missing, and the user's may raise
            return {}  # if such a layer changes, the warning about the builder's code covers it
    return config if isinstance(config, Mapping) else {}


@contextmanager
def _silent(parts: Iterable[keras.Layer | keras.Initializer]) -> Iterator[None]:
    """Make get_config() of parts return {}, so that the enclosing config does not repeat them."""
    hidden = [vars(one) for one in parts if "get_config" not in vars(one)]
    for own in hidden:
        own["get_config"] = dict
    try:
        yield
    finally:
        for own in hidden:
            own.pop("get_config", None)


def _plain(value: Any, places: Mapping[str, int]) -> Any:
    """Return settings as JSON-serializable values that are the same in any process."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__lambda__":  # its bytes contain the path of its source
            return None
        told = {str(key): one for key, one in value.items() if key not in _LEFT_OUT}
        return {key: _plain(one, places) for key, one in told.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, places) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        # Summing in another order changes the last digits, so only three digits are compared.
        # Settings that differ by less than about a thousandth therefore count as equal.
        return f"{value:.3g}"
    if isinstance(value, str):
        return places.get(value, value)
    return value if isinstance(value, int | None) else type(value).__name__
