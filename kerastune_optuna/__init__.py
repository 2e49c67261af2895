"""Tune Keras models with Optuna: search, prune, resume, and get the best model back."""

from importlib.metadata import version as _version

from kerastune_optuna._callbacks import PruningCallback
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
from kerastune_optuna._tuner import OptunaTuner

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BuilderError",
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
]

__version__ = _version("kerastune_optuna")
