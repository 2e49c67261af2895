"""What runs code and continues searches that were written for KerasTuner, without KerasTuner."""

from kerastune_optuna._keras_tuner.builder import from_keras_tuner as from_keras_tuner
from kerastune_optuna._keras_tuner.hyperparameters import HyperParameters as HyperParameters
from kerastune_optuna._keras_tuner.project import Imported as Imported
from kerastune_optuna._keras_tuner.project import import_project as import_project
