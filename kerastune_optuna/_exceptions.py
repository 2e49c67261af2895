"""The error tree: every error of ours is a TunerError and a built-in that a caller would expect.

TunerError
├── ArgumentError (ValueError)           an argument that cannot work
│   └── ArgumentTypeError (TypeError)    an argument of the wrong type, or one that does not exist
├── BuilderError (TypeError)             build_model returned what cannot be trained
├── FatalError (RuntimeError)            what the user's own code raises to end the search
├── MetricNotFoundError (LookupError)    the objective is not among the metrics of the model
├── MissingExtraError (ImportError)      an optional package is not installed
├── NoTrialsError (LookupError)          a result was asked for before any trial completed
├── StorageError (ConnectionError)       the storage or its directory cannot be used
├── StudyMismatchError (ValueError)      the study exists and belongs to another search
├── TooManyFailuresError (RuntimeError)  trial after trial failed
├── UnknownNameError (AttributeError)    an attribute that KerasTuner's tuners have
├── WeightsError (OSError)               weights cannot be saved, found or loaded
└── WorkerError (RuntimeError)           worker processes died, or the executor broke

FailedTrialError is no TunerError: the user's code raises it, and like any error it fails one trial.
"""


class TunerError(Exception):
    """Be the base of every error that kerastune_optuna raises."""


class ArgumentError(TunerError, ValueError):
    """Say that an argument cannot work, and what to pass instead."""


class ArgumentTypeError(ArgumentError, TypeError):
    """Say that an argument has the wrong type or does not exist."""


class BuilderError(TunerError, TypeError):
    """Say that build_model returned something that cannot be trained."""


class FailedTrialError(RuntimeError):
    """Raise this in a builder, a fit or a callback to fail one trial; the search goes on."""


class FatalError(TunerError, RuntimeError):
    """Raise this in a builder, a fit or a callback to end the search, whatever the trial."""


class MetricNotFoundError(TunerError, LookupError):
    """Say that the objective is not among the metrics that the model logs."""


class MissingExtraError(TunerError, ImportError):
    """Say that an optional package is not installed, and which extra brings it."""


class NoTrialsError(TunerError, LookupError):
    """Say that the study has no completed trial to take a result from."""


class StorageError(TunerError, ConnectionError):
    """Say that the storage or its directory cannot be used."""


class StudyMismatchError(TunerError, ValueError):
    """Say that the study exists already and belongs to another search."""


class TooManyFailuresError(TunerError, RuntimeError):
    """Say that so many trials failed in a row that the search gave up."""


class UnknownNameError(TunerError, AttributeError):
    """Say that a tuner lacks an attribute of KerasTuner's tuners, and what to use instead."""


class WeightsError(TunerError, OSError):
    """Say that weights could not be saved, found or loaded."""


class WorkerError(TunerError, RuntimeError):
    """Say that worker processes died one after the other, or that the executor broke."""


def is_fatal(error: BaseException) -> bool:
    """Whether the user's code raised an error to end the search: ours, or that of KerasTuner."""
    return _is_named(error, "FatalError")


def is_of_one_trial(error: BaseException) -> bool:
    """Whether the user's code raised an error to fail one trial: ours, or that of KerasTuner."""
    return _is_named(error, "FailedTrialError")


def _is_named(error: BaseException, name: str) -> bool:
    """Whether an error is of a class of that name, found without an import of KerasTuner."""
    return any(kind.__name__ == name for kind in type(error).__mro__)
