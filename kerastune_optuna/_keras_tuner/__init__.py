"""What runs code and continues searches that were written for KerasTuner, without KerasTuner."""

from kerastune_optuna._keras_tuner._builder import from_keras_tuner
from kerastune_optuna._keras_tuner._hyperparameters import HyperParameters
from kerastune_optuna._keras_tuner._project import Imported, import_project

__all__ = ["HyperParameters", "Imported", "from_keras_tuner", "import_project"]
