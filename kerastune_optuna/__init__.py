"""Tune Keras models with Optuna: search, prune, resume, and get the best model back."""

import typing as _typing
from importlib import import_module as _import_module
from importlib.metadata import version as _version

from kerastune_optuna._choice import choice
from kerastune_optuna._exceptions import (
    ArgumentError,
    ArgumentTypeError,
    BuilderError,
    FailedTrialError,
    FatalError,
    MetricNotFoundError,
    MissingExtraError,
    NoTrialsError,
    StorageError,
    StudyMismatchError,
    TooManyFailuresError,
    TunerError,
    UnknownNameError,
    WeightsError,
    WorkerError,
)

if _typing.TYPE_CHECKING:
    from kerastune_optuna._keras_tuner import HyperParameters, from_keras_tuner
    from kerastune_optuna._open_study import open_study
    from kerastune_optuna._rerun import Confirmation, Confirmed, Ensemble, Member
    from kerastune_optuna._search import GaussianProcessSampler
    from kerastune_optuna._trial import PruningCallback
    from kerastune_optuna._tuner import OptunaTuner
else:
    # These names import Optuna, Keras and its backend, which takes seconds. The command line, which
    # imports this module too, needs no Keras.
    _LATER = {
        "Confirmation": "_rerun",
        "Confirmed": "_rerun",
        "Ensemble": "_rerun",
        "GaussianProcessSampler": "_search",
        "HyperParameters": "_keras_tuner",
        "Member": "_rerun",
        "OptunaTuner": "_tuner",
        "PruningCallback": "_trial",
        "from_keras_tuner": "_keras_tuner",
        "open_study": "_open_study",
    }

    def __getattr__(name):
        """Import a name in _LATER when it is first used."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(_import_module(f"{__name__}.{_LATER[name]}"), name)
        return globals().setdefault(name, found)

    def __dir__():
        """List the names in _LATER too, which dir() would not find before they are used."""
        return sorted({*globals(), *_LATER})


__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BuilderError",
    "Confirmation",
    "Confirmed",
    "Ensemble",
    "FailedTrialError",
    "FatalError",
    "GaussianProcessSampler",
    "HyperParameters",
    "Member",
    "MetricNotFoundError",
    "MissingExtraError",
    "NoTrialsError",
    "OptunaTuner",
    "PruningCallback",
    "StorageError",
    "StudyMismatchError",
    "TooManyFailuresError",
    "TunerError",
    "UnknownNameError",
    "WeightsError",
    "WorkerError",
    "__version__",
    "choice",
    "from_keras_tuner",
    "open_study",
]

for _name in __all__:
    if _name.endswith("Error"):  # a traceback shows the name by which users import it
        globals()[_name].__module__ = __name__

__version__ = _version("kerastune_optuna")
