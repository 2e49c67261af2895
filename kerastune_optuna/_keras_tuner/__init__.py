"""What runs code and continues searches that were written for KerasTuner, without KerasTuner."""

from kerastune_optuna._keras_tuner.builder import from_keras_tuner
from kerastune_optuna._keras_tuner.hyperparameters import HyperParameters
from kerastune_optuna._keras_tuner.project import Imported, import_project

__all__ = [
    "HyperParameters",
    "Imported",
    "from_keras_tuner",
    "import_project",
]
