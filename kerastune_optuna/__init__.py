"""Tune Keras models with Optuna: search, prune, resume, and get the best model back."""

import typing as _typing
from importlib import import_module as _import_module
from importlib.metadata import version as _version

from kerastune_optuna._choice import choice
from kerastune_optuna._exceptions import (
    ArgumentError,
    ArgumentTypeError,
    BuilderError,
    MetricNotFoundError,
    MissingExtraError,
    NoTrialsError,
    StorageError,
    StudyMismatchError,
    TooManyFailuresError,
    TunerError,
    WeightsError,
    WorkerError,
)

if _typing.TYPE_CHECKING:
    from kerastune_optuna._keras_tuner import HyperParameters, from_keras_tuner
    from kerastune_optuna._trial import PruningCallback
    from kerastune_optuna._tuner import OptunaTuner
else:
    # These import TensorFlow or Optuna, which takes time: the command line does without.
    _LATER = {
        "HyperParameters": "_keras_tuner",
        "OptunaTuner": "_tuner",
        "PruningCallback": "_trial",
        "from_keras_tuner": "_keras_tuner",
    }

    def __getattr__(name):
        """Import what was left for later when it is first asked for."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(_import_module(f"{__name__}.{_LATER[name]}"), name)
        return globals().setdefault(name, found)

    def __dir__():
        """Name these too."""
        return sorted({*globals(), *_LATER})


__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BuilderError",
    "HyperParameters",
    "MetricNotFoundError",
    "MissingExtraError",
    "NoTrialsError",
    "OptunaTuner",
    "PruningCallback",
    "StorageError",
    "StudyMismatchError",
    "TooManyFailuresError",
    "TunerError",
    "WeightsError",
    "WorkerError",
    "__version__",
    "choice",
    "from_keras_tuner",
]

__version__ = _version("kerastune_optuna")
