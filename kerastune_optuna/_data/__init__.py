"""The data and arguments that Model.fit gets."""

from kerastune_optuna._data.arguments import as_list as as_list
from kerastune_optuna._data.arguments import check_builders_arguments as check_builders_arguments
from kerastune_optuna._data.arguments import check_fit_arguments as check_fit_arguments
from kerastune_optuna._data.arguments import check_training as check_training
from kerastune_optuna._data.checks import check_evaluated_data as check_evaluated_data
from kerastune_optuna._data.fingerprint import describe as describe
from kerastune_optuna._data.fingerprint import measure as measure
from kerastune_optuna._data.fit import FitArguments as FitArguments
from kerastune_optuna._data.fit import Given as Given
from kerastune_optuna._data.folds import cross_validated as cross_validated
from kerastune_optuna._data.resumed import resumed as resumed
from kerastune_optuna._data.resumed import skip_datasets as skip_datasets
from kerastune_optuna._data.resumed import why_not_resumed as why_not_resumed
from kerastune_optuna._data.sources import GeneratorFunction as GeneratorFunction
from kerastune_optuna._data.sources import from_plain as from_plain
from kerastune_optuna._data.sources import is_loader as is_loader
from kerastune_optuna._data.sources import lacks_targets as lacks_targets
from kerastune_optuna._data.sources import to_plain as to_plain
