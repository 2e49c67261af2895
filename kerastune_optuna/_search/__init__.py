"""Which configuration is tried next, and when a search stops."""

from kerastune_optuna._search.budget import Budget as Budget
from kerastune_optuna._search.failures import check_study as check_study
from kerastune_optuna._search.gaussian_process import (
    GaussianProcessSampler as GaussianProcessSampler,
)
from kerastune_optuna._search.grid import check_finite as check_finite
from kerastune_optuna._search.learning import LearningSampler as LearningSampler
from kerastune_optuna._search.mismatch import explain as explain
from kerastune_optuna._search.mismatch import with_defaults as with_defaults
from kerastune_optuna._search.pruner import watched_alone as watched_alone
from kerastune_optuna._search.queue import Fitting as Fitting
from kerastune_optuna._search.queue import chosen as chosen
from kerastune_optuna._search.queue import enqueue as enqueue
from kerastune_optuna._search.repeats import copy_result as copy_result
from kerastune_optuna._search.repeats import find_earlier as find_earlier
from kerastune_optuna._search.samplers import Chooser as Chooser
from kerastune_optuna._search.space import check_choices as check_choices
from kerastune_optuna._search.space import defaults_of as defaults_of
from kerastune_optuna._search.space import listed as listed
from kerastune_optuna._search.space import outlined as outlined
from kerastune_optuna._search.stopping import Deadline as Deadline
from kerastune_optuna._search.stopping import StopConditions as StopConditions
