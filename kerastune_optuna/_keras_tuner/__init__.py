"""Run code that was written for KerasTuner, without KerasTuner."""

from kerastune_optuna._keras_tuner.builder import from_keras_tuner as from_keras_tuner
from kerastune_optuna._keras_tuner.entries import Entry as Entry
from kerastune_optuna._keras_tuner.hyperparameters import HyperParameters as HyperParameters
from kerastune_optuna._keras_tuner.names import ARGUMENTS as ARGUMENTS
from kerastune_optuna._keras_tuner.names import absent as absent
from kerastune_optuna._keras_tuner.names import check_hooks as check_hooks
from kerastune_optuna._keras_tuner.names import is_fatal as is_fatal
from kerastune_optuna._keras_tuner.names import is_of_one_trial as is_of_one_trial
from kerastune_optuna._keras_tuner.names import learn_ranges as learn_ranges
from kerastune_optuna._keras_tuner.names import pairs_of as pairs_of
from kerastune_optuna._keras_tuner.names import refuse_hyper_model as refuse_hyper_model
from kerastune_optuna._keras_tuner.names import refuse_methods_of_hp as refuse_methods_of_hp
