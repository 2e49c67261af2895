"""Run code that was written for KerasTuner, without KerasTuner."""

from kerastune_optuna._keras_tuner.builder import from_keras_tuner as from_keras_tuner
from kerastune_optuna._keras_tuner.hyperparameters import HyperParameters as HyperParameters
