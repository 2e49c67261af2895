"""A digest of what a model computes, kept in its file of weights and compared on loading."""

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

_PLACE = "kerastune_optuna:computes"  # the attribute of the HDF5 file that holds the digest
_PLAIN = (str, int, float, bool, type(None))
# Settings that the digest leaves out: they differ from build to build, depend on where the code is,
# or are told in another place.
_INDIFFERENT = {
    "batch_input_shape",
    "batch_shape",
    "build_config",
    "build_input_shape",
    "compile_config",
    "input_layers",
    "layers",
    "module",
    "name",
    "output_layers",
    "registered_name",
    "seed",
    "shared_object_id",
    "trainable",
    "vocabulary_size",
}
# Settings that decide how layers of Keras are initialized and trained, not what they predict.
_OF_TRAINING = {"dropout", "momentum", "rate", "recurrent_dropout", "stddev"}
_BEGINNINGS = ("_constraint", "_initializer")
# Layers of Keras that change nothing except in training: only their class is told.
_IDLE = (keras.layers.MixUp, keras.layers.CutMix, keras.layers.RandAugment, keras.layers.AugMix)


def put(path: Path, model: keras.Model) -> None:
    """Write the digest of what a model computes into its file of weights."""
    with h5py.File(path, "a") as file:
        file.attrs[_PLACE] = digest_of(model)


def is_of(path: Path, model: keras.Model) -> bool:
    """Whether a model computes what the one did whose weights a file holds, as far as it tells."""
    with h5py.File(path, "r") as file:
        return file.attrs.get(_PLACE) in (None, digest_of(model))


def digest_of(model: keras.Model) -> str:
    """Return a digest of what a model computes: the same for each build of it, in any process."""
    return digest(json.dumps(list(_told(model))).encode())


def has_own_code(model: keras.Model) -> bool:
    """Whether a model has code that is not Keras's, which its settings do not tell."""
    return any(not _is_of_keras(one) or _calls_own(one) for one in [model, *layers_within(model)])


def _calls_own(layer: keras.Layer) -> bool:
    """Whether a layer of Keras calls a function that is not Keras's, as an activation may be."""
    held = (one for one in vars(layer).values() if isinstance(one, FunctionType))
    return not all(one.__module__.startswith("keras.") for one in held)


def _told(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yield each setting of a model's layers with its place, in a form that JSON holds."""
    for number, layer in enumerate(_layers(model)):
        config = _config(layer)
        yield f"{number} class", type(layer).__name__
        yield f"{number} dtype", layer.dtype_policy.name
        yield from _settings(config, str(number), is_of_keras=_is_of_keras(layer))
        yield from _wires(config, f"{number} input")


def _layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers of a model that its predictions may depend on, at any depth."""
    # An InputLayer computes nothing.
    every = [
        one for one in [model, *layers_within(model)] if type(one) is not keras.layers.InputLayer
    ]
    idle = (part for one in every if _is_idle(one) for part in layers_within(one))
    left_out = set(map(id, idle))
    return [one for one in every if id(one) not in left_out]


def _config(layer: keras.Layer) -> Mapping[str, Any]:
    """Return a layer's config without its parts; an empty one where it is idle in prediction."""
    if _is_idle(layer):
        return {}
    # The layers within it are described after it. Initializers may hold matrices, which Keras would
    # turn into long lists of numbers.
    initializers = (one for one in vars(layer).values() if isinstance(one, keras.Initializer))
    # Keras warns that a lambda in a config is unsafe to load; this config is only compared.
    with _silent([*layers_within(layer), *initializers]), warnings.catch_warnings(action="ignore"):
        try:
            config = layer.get_config()
        except Exception:  # Keras raises where get_config() is missing, and a user's may raise
            return {}  # the warning of a builder whose code has changed tells of such a layer
    return config if isinstance(config, Mapping) else {}


def _is_idle(layer: keras.Layer) -> bool:
    """Whether a layer of Keras does nothing outside of training, where RandomCrop still crops."""
    kind = type(layer)
    is_random = kind.__name__.startswith("Random") and kind is not keras.layers.RandomCrop
    return _is_of_keras(layer) and (is_random or kind in _IDLE)


@contextmanager
def _silent(parts: Iterable[keras.Layer | keras.Initializer]) -> Iterator[None]:
    """Let get_config() of parts be empty, so that the config around them does not repeat them."""
    hidden = [vars(one) for one in parts if "get_config" not in vars(one)]
    for own in hidden:
        own["get_config"] = dict
    try:
        yield
    finally:
        for own in hidden:
            own.pop("get_config", None)


def _is_of_keras(layer: keras.Layer) -> bool:
    own = isinstance(layer, keras.layers.Lambda)
    return type(layer).__module__.startswith("keras.") and not own


def _settings(value: Any, place: str, *, is_of_keras: bool) -> Iterator[tuple[str, Any]]:
    """Yield the settings in a config, at any depth."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__lambda__":  # its bytes hold the path of its source
            value = {}
        for key, one in value.items():
            of_training = is_of_keras and (key in _OF_TRAINING or str(key).endswith(_BEGINNINGS))
            if key not in _INDIFFERENT and not of_training:
                yield from _settings(one, f"{place} {key}", is_of_keras=is_of_keras)
    elif isinstance(value, list | tuple) and not all(isinstance(one, _PLAIN) for one in value):
        for number, one in enumerate(value):
            yield from _settings(one, f"{place} {number}", is_of_keras=is_of_keras)
    else:
        yield place, _plain(value)


def _wires(config: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    """Yield which layers of a functional model feed which, and its inputs and outputs."""
    layers = [one for one in config.get("layers", ()) if isinstance(one, Mapping)]
    numbers = {one.get("name"): number for number, one in enumerate(layers)}
    for number, one in enumerate(layers):
        for way, history in enumerate(_histories(one.get("inbound_nodes", ()))):
            yield f"{place} {way} of its layer {number}", _numbered(history, numbers)
    for end in ("input_layers", "output_layers"):
        if end in config:
            yield f"{place} {end}", _numbered(config[end], numbers)


def _numbered(history: Any, numbers: Mapping[Any, int]) -> Any:
    """Return a history with numbers for the names of layers, which differ from build to build."""
    return keras.tree.map_structure(lambda part: numbers.get(part, part), history)


def _histories(node: Any) -> Iterator[list[Any]]:
    """Yield where the tensors in the arguments of calls come from: layer, call and output."""
    if isinstance(node, Mapping) and node.get("class_name") == "__keras_tensor__":
        yield node["config"]["keras_history"]
    elif isinstance(node, Mapping | list | tuple):
        for one in node.values() if isinstance(node, Mapping) else node:
            yield from _histories(one)


def _plain(value: Any) -> Any:
    """Return a setting in a form that JSON holds, the same in any process."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        # Sums in another order differ in their last digits. So few are left that they seldom lie on
        # both sides of a border; settings that differ by less than a thousandth are not told apart.
        return f"{value:.3g}"
    return value if isinstance(value, _PLAIN) else type(value).__name__
