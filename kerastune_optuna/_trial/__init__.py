"""One trial: built, trained, scored and kept."""

from kerastune_optuna._trial import custom_fit, history, weights
from kerastune_optuna._trial.architecture import has_own_code
from kerastune_optuna._trial.callbacks import PruningCallback
from kerastune_optuna._trial.custom_fit import trains_itself, worth
from kerastune_optuna._trial.deletion import settle
from kerastune_optuna._trial.fits import Fits, Gate, TrainingOver
from kerastune_optuna._trial.history import EpochLogs, Row
from kerastune_optuna._trial.kept import claim_keeping, keepers, keeps, rebuild, tidy
from kerastune_optuna._trial.overwrite import opened
from kerastune_optuna._trial.recipe import Builder, Recipe, build_again
from kerastune_optuna._trial.run import run_trial
from kerastune_optuna._trial.steps import check_steps
from kerastune_optuna._trial.stop import StopOnRequest
from kerastune_optuna._trial.trainings import TRAINING, best_of
from kerastune_optuna._trial.user_callbacks import as_list, check_callbacks, may_add_metrics

__all__ = [
    "TRAINING",
    "Builder",
    "EpochLogs",
    "Fits",
    "Gate",
    "PruningCallback",
    "Recipe",
    "Row",
    "StopOnRequest",
    "TrainingOver",
    "as_list",
    "best_of",
    "build_again",
    "check_callbacks",
    "check_steps",
    "claim_keeping",
    "custom_fit",
    "has_own_code",
    "history",
    "keepers",
    "keeps",
    "may_add_metrics",
    "opened",
    "rebuild",
    "run_trial",
    "settle",
    "tidy",
    "trains_itself",
    "weights",
    "worth",
]
