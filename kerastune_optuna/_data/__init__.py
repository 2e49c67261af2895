"""What Model.fit gets."""

from kerastune_optuna._data import datasets, not_finite
from kerastune_optuna._data.checks import GeneratorFunction, lacks_targets
from kerastune_optuna._data.digest import digest
from kerastune_optuna._data.fingerprint import describe, measure
from kerastune_optuna._data.fit import (
    VERBOSITIES,
    FitArguments,
    check_builders_arguments,
    check_fit_arguments,
    check_training,
)
from kerastune_optuna._data.folds import cross_validated, of_fold, told
from kerastune_optuna._data.kinds import check_kinds
from kerastune_optuna._data.specs import from_plain, to_plain
from kerastune_optuna._data.transport import pack_fit

__all__ = [
    "VERBOSITIES",
    "FitArguments",
    "GeneratorFunction",
    "check_builders_arguments",
    "check_fit_arguments",
    "check_kinds",
    "check_training",
    "cross_validated",
    "datasets",
    "describe",
    "digest",
    "from_plain",
    "lacks_targets",
    "measure",
    "not_finite",
    "of_fold",
    "pack_fit",
    "to_plain",
    "told",
]
