"""A finished configuration trained again."""

from kerastune_optuna._rerun.confirm import (
    check_request,
    configurations,
    confirm,
    confirmation,
    epochs_of_the_search,
)
from kerastune_optuna._rerun.confirmation import Confirmation
from kerastune_optuna._rerun.models import best_model, best_models
from kerastune_optuna._rerun.refit import as_they_are, refit
from kerastune_optuna._rerun.reproduce import reproduce

__all__ = [
    "Confirmation",
    "as_they_are",
    "best_model",
    "best_models",
    "check_request",
    "configurations",
    "confirm",
    "confirmation",
    "epochs_of_the_search",
    "refit",
    "reproduce",
]
