"""The workers that run trials: this process, worker processes, or tasks of an executor."""

from kerastune_optuna._workers import card as card
from kerastune_optuna._workers import comparable as comparable
from kerastune_optuna._workers.listeners import listeners as listeners
from kerastune_optuna._workers.overwrite import opened as opened
from kerastune_optuna._workers.plan import Run as Run
from kerastune_optuna._workers.plan import guarded as guarded
from kerastune_optuna._workers.plan import prepared as prepared
from kerastune_optuna._workers.plan import recipe_of as recipe_of
from kerastune_optuna._workers.plan import search as search
from kerastune_optuna._workers.start import Source as Source
from kerastune_optuna._workers.start import check_warm_start as check_warm_start
from kerastune_optuna._workers.warnings import shown_once as shown_once
