"""The tree of errors: each is a TunerError, and also the built-in error that a caller expects.

TunerError
├── ArgumentError (ValueError)           an argument that cannot work
│   └── ArgumentTypeError (TypeError)    an argument of the wrong type, or one that does not exist
├── BuilderError (TypeError)             build_model returned something that cannot be trained
├── FatalError (RuntimeError)            the user's own code raises it to end the search
├── MetricNotFoundError (LookupError)    the objective is not among the metrics of the model
├── MissingExtraError (ImportError)      an optional package is not installed
├── NoTrialsError (LookupError)          a result was requested before any trial completed
├── StorageError (ConnectionError)       the storage or its directory cannot be used
├── StudyMismatchError (ValueError)      the study exists and belongs to another search
├── TooManyFailuresError (RuntimeError)  too many trials failed in a row
├── UnknownNameError (AttributeError)    an attribute that only KerasTuner's tuners have
├── WeightsError (OSError)               weights cannot be saved, found or loaded
└── WorkerError (RuntimeError)           worker processes died, or the executor broke

FailedTrialError is not a TunerError: the user's code raises it to fail one trial.
"""


class TunerError(Exception):
    """Base class of every error that kerastune_optuna raises."""


class ArgumentError(TunerError, ValueError):
    """Raised when an argument cannot work; the message says what to pass instead."""


class ArgumentTypeError(ArgumentError, TypeError):
    """Raised when an argument has the wrong type or does not exist."""


class BuilderError(TunerError, TypeError):
    """Raised when build_model returns something that cannot be trained."""


class FailedTrialError(RuntimeError):
    """Raise this in build_model, its fit or a callback to fail one trial; the search goes on."""


class FatalError(TunerError, RuntimeError):
    """Raise this in build_model, its fit or a callback to end the whole search."""


class MetricNotFoundError(TunerError, LookupError):
    """Raised when the objective is not among the metrics that the model logs."""


class MissingExtraError(TunerError, ImportError):
    """Raised when an optional package is not installed; the message names the extra to install."""


class NoTrialsError(TunerError, LookupError):
    """Raised when the study has no completed trial from which to take a result."""


class StorageError(TunerError, ConnectionError):
    """Raised when the storage or its directory cannot be used."""


class StudyMismatchError(TunerError, ValueError):
    """Raised when the study exists already and belongs to another search."""


class TooManyFailuresError(TunerError, RuntimeError):
    """Raised when so many trials failed in a row that the search gave up."""


class UnknownNameError(TunerError, AttributeError):
    """Raised for an attribute that only KerasTuner's tuners have; the message says what to use."""


class WeightsError(TunerError, OSError):
    """Raised when weights cannot be saved, found or loaded."""


class WorkerError(TunerError, RuntimeError):
    """Raised when worker processes died one after another, or when the executor broke."""
