"""One trial: build its model, train it, score it, and keep it."""

from kerastune_optuna._trial.again import train_again as train_again
from kerastune_optuna._trial.failure import is_of_memory as is_of_memory
from kerastune_optuna._trial.fast import check_steps as check_steps
from kerastune_optuna._trial.history import history_of as history_of
from kerastune_optuna._trial.kept import rebuild as rebuild
from kerastune_optuna._trial.ledger import number_of_best as number_of_best
from kerastune_optuna._trial.pruning_callback import PruningCallback as PruningCallback
from kerastune_optuna._trial.recipe import Builder as Builder
from kerastune_optuna._trial.recipe import Call as Call
from kerastune_optuna._trial.recipe import Recipe as Recipe
from kerastune_optuna._trial.tell import run_trial as run_trial
from kerastune_optuna._trial.user_callbacks import check_callback as check_callback
from kerastune_optuna._trial.user_callbacks import check_kind as check_kind
from kerastune_optuna._trial.user_callbacks import may_add_metrics as may_add_metrics
from kerastune_optuna._trial.weights import MissingWeightsError as MissingWeightsError
from kerastune_optuna._trial.weights import config_of as config_of
