"""The workers that run trials: this process, worker processes, or tasks of an executor."""

from kerastune_optuna._workers.card import card_of as card_of
from kerastune_optuna._workers.card import warn_if_builder_changed as warn_if_builder_changed
from kerastune_optuna._workers.listeners import listeners as listeners
from kerastune_optuna._workers.loop import shown_once as shown_once
from kerastune_optuna._workers.plan import Run as Run
from kerastune_optuna._workers.plan import search as search
from kerastune_optuna._workers.plan import writable_study as writable_study
from kerastune_optuna._workers.runners import Crew as Crew
from kerastune_optuna._workers.start import Source as Source
from kerastune_optuna._workers.start import check_warm_start as check_warm_start
