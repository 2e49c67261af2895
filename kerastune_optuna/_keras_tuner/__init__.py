"""Run code that was written for KerasTuner, without KerasTuner."""

from kerastune_optuna._keras_tuner.builder import from_keras_tuner as from_keras_tuner
from kerastune_optuna._keras_tuner.hyperparameters import HyperParameters as HyperParameters
from kerastune_optuna._keras_tuner.names import ARGUMENTS as ARGUMENTS
from kerastune_optuna._keras_tuner.names import BUILDER as BUILDER
from kerastune_optuna._keras_tuner.names import absent as absent
from kerastune_optuna._keras_tuner.names import check_hooks as check_hooks
