"""A finished configuration trained again."""

from kerastune_optuna._rerun import reproduce
from kerastune_optuna._rerun.confirmation import Confirmation, confirmation_of
from kerastune_optuna._rerun.executions import (
    Executions,
    NoSampler,
    asked_for,
    best_of_each,
    executions,
    key_of,
    lay_out_missing,
)
from kerastune_optuna._rerun.refit import (
    Until,
    as_they_are,
    best_training,
    ends_of_fits,
    folder_for,
    train,
)

__all__ = [
    "Confirmation",
    "Executions",
    "NoSampler",
    "Until",
    "as_they_are",
    "asked_for",
    "best_of_each",
    "best_training",
    "confirmation_of",
    "ends_of_fits",
    "executions",
    "folder_for",
    "key_of",
    "lay_out_missing",
    "reproduce",
    "train",
]
