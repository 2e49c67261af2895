"""What a weights file of somebody else may hold: plain arrays, and a model of Keras's parts."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import h5py
import keras

# A config names a class by any module that has it. What counts is where Keras defines the class:
# TFSMLayer, TorchModuleWrapper, JaxLayer and FlaxLayer, which run other code, are defined
# elsewhere. None of these classes but Lambda calls a function that a config contains as code, and
# none but those with a vocabulary opens a file that a config names.
_OWN = "applications constraints dtype_policies initializers layers losses metrics models ops "
_OWN += "optimizers quantizers random regularizers"
_PLACES = tuple(f"keras.src.{name}." for name in _OWN.split())
_VALUES = ("__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__")
_LOOKUPS = ("deserialize", "get", "serialize")  # functions that make objects of what they get


def check_config(config: Any) -> None:
    """Reject a model's config that names anything but the parts of Keras.

    Keras's own safe mode only refuses code that is part of the config.

    Raises:
        ValueError: Says what the config names.
    """
    if isinstance(config, dict):
        if "class_name" in config and not _is_of_keras(config):
            of = "config" if config["class_name"] == "function" else "class_name"
            raise ValueError(f"its config names {config.get(of)!r} of {config.get('module')!r}")
        if not isinstance(config.get("vocabulary"), list | None):
            raise ValueError(f"its config names the file {config['vocabulary']!r}")
        for part in config.values():
            check_config(part)
    elif isinstance(config, list):
        for part in config:
            check_config(part)
    # Keras takes any string for the name of an object that this process has registered.
    elif isinstance(config, str) and config in keras.saving.get_custom_objects():
        raise ValueError(f"its config names {config!r}, which was registered in this process")


def _is_of_keras(config: dict[str, Any]) -> bool:
    """Whether what a config names is a class of Keras that runs no code and opens no file."""
    name = str(config["class_name"])
    if name == "function":
        name = str(config.get("config"))
        homes = (keras.activations, keras.losses, keras.metrics)
        own = any(isinstance(vars(home).get(name), FunctionType) for home in homes)
        return own and config.get("module") == "builtins" and name not in _LOOKUPS
    # Keras would import the module, but those of its own classes are imported already.
    found = getattr(sys.modules.get(str(config.get("module"))), name, None)
    is_class = isinstance(found, type) and found is not keras.layers.Lambda
    return name in _VALUES or (is_class and found.__module__.startswith(_PLACES))


def check_file(path: Path) -> None:
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
