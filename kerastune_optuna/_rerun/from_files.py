"""The models of a study without its builder: built as their files say, of Keras's parts alone."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import keras

from kerastune_optuna._exceptions import BuilderError, WeightsError
from kerastune_optuna._study import Home
from kerastune_optuna._trial import config_of

# A config names a class by any module that has it. What counts is where Keras defines the class:
# TFSMLayer, TorchModuleWrapper, JaxLayer and FlaxLayer, which run other code, are defined
# elsewhere. None of these classes but Lambda calls a function that a config contains as code, and
# none but those with a vocabulary opens a file that a config names.
_OWN = "applications constraints dtype_policies initializers layers losses metrics models ops "
_OWN += "optimizers quantizers random regularizers"
_PLACES = tuple(f"keras.src.{name}." for name in _OWN.split())
_VALUES = ("__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__")
_LOOKUPS = ("deserialize", "get", "serialize")  # functions that make objects of what they get


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
        config = config_of(self.home.files, trial)
        try:
            check_config(config)
            # Otherwise any string may name the user's objects.
            with keras.saving.custom_object_scope({}):
                model = keras.saving.deserialize_keras_object(config)
        except Exception as error:  # the config may name what only the user's code registers
            raise WeightsError(f"{told} ({error!r:.200})") from error
        if model is None:  # as Keras makes it of no config
            raise WeightsError(told)
        return model

    def error(self) -> BuilderError:
        """Return the error for a call that needs the builder, which open_study() does not know."""
        return BuilderError(
            f"open_study() knows no build_model, so nothing of study {self.home.name!r} can be "
            "trained. Make an OptunaTuner with its build_model to go on."
        )


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
        name, module = str(config.get("config")), config.get("module")
        # Keras before 3.16 calls the module of each function "builtins".
        own = any(
            isinstance(vars(home).get(name), FunctionType)
            for home in (keras.activations, keras.losses, keras.metrics)
            if module in ("builtins", home.__name__)
        )
        return own and name not in _LOOKUPS
    # Keras would import the module, but those of its own classes are imported already.
    found = getattr(sys.modules.get(str(config.get("module"))), name, None)
    is_class = isinstance(found, type) and found is not keras.layers.Lambda
    return name in _VALUES or (is_class and found.__module__.startswith(_PLACES))
