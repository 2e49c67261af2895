"""What a model computes: a digest of it, and whether its settings show all of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import layers_within
from kerastune_optuna._digest import digest

# Settings that the digest leaves out: they differ from build to build, depend on where the code is,
# or are contained elsewhere in the digest.
_LEFT_OUT = set(
    "batch_input_shape batch_shape build_config build_input_shape compile_config inbound_nodes "
    "input_layers module name output_layers registered_name seed shared_object_id trainable "
    "vocabulary_size".split()
)


def digest_of(model: keras.Model) -> str:
    """Return a digest of what a model computes: the same for each build of it, in any process."""
    # An InputLayer computes nothing, and a model that was returned unbuilt has none.
    layers = [one for one in layers_within(model) if not isinstance(one, keras.layers.InputLayer)]
    kinds = [(type(one).__name__, one.dtype_policy.name) for one in (model, *layers)]
    # The config of a model of Keras has those of its layers; that of a user's model may not.
    whole = {} if has_own_code(model) else _config(model)
    configs = [whole] if whole else [_config(one) for one in (model, *layers)]
    return digest(json.dumps([kinds, _plain(configs)]))


def has_own_code(model: keras.Model) -> bool:
    """Whether a model has code that is not Keras's, which its settings do not show."""
    for layer in (model, *layers_within(model)):
        held = (one for one in vars(layer).values() if isinstance(one, FunctionType))
        codes = (type(layer), *held)  # an activation may be a function of the user
        is_of_keras = all(one.__module__.startswith("keras.") for one in codes)
        if isinstance(layer, keras.layers.Lambda) or not is_of_keras:
            return True
    return False


def _config(layer: keras.Layer) -> Any:
    """Return a layer's config; an empty one if it has none."""
    # Keras warns that a lambda in a config is unsafe to load; this config is only compared.
    with warnings.catch_warnings(action="ignore"):
        try:
            return layer.get_config()
        except Exception:  # Keras raises if get_config() is missing, and the user's may raise
            return {}  # if such a layer changes, the warning about the builder's code covers it


def _plain(value: Any) -> Any:
    """Return a config, or a part of it, as JSON has it, and as it is in any build and process."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__lambda__":  # its bytes contain the path of its source
            return None
        told = {}
        for key, setting in value.items():
            # Saved weights take the place of what initializers draw.
            if key not in _LEFT_OUT and not str(key).endswith("initializer"):
                told[str(key)] = _plain(setting)
        return [told, _wires(value)]
    if isinstance(value, list | tuple):
        return [
            _plain(part)
            for part in value
            if not (isinstance(part, Mapping) and part.get("class_name") == "InputLayer")
        ]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        # Summing in another order changes the last digits, so only three digits are compared.
        # Settings that differ by less than about a thousandth therefore count as equal.
        return f"{value:.3g}"
    return value if isinstance(value, str | int | None) else type(value).__name__


def _wires(config: Mapping[str, Any]) -> str:
    """Return how a functional model connects its layers; of another config, no more than brackets.

    Names differ from build to build, so the positions of the layers replace them.
    """
    parts = layers if isinstance(layers := config.get("layers"), list) else []
    nodes = [one for one in parts if isinstance(one, Mapping) and "inbound_nodes" in one]
    ends = [config.get("input_layers"), config.get("output_layers")]
    text = json.dumps(_plain([ends, [one["inbound_nodes"] for one in nodes]]))
    for place, layer in enumerate(nodes):
        text = text.replace(json.dumps(layer["name"]), str(place))
    return text
