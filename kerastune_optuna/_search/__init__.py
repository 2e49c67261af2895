"""What is tried next, and when to stop."""

from kerastune_optuna._search import asked, repeats
from kerastune_optuna._search.grid import is_grid, lay_out_grid
from kerastune_optuna._search.learning import learning
from kerastune_optuna._search.one_objective import watched_alone
from kerastune_optuna._search.queue import check_queue, chosen, defaults, enqueue
from kerastune_optuna._search.samplers import (
    check_pruner,
    check_sampler,
    made_pruner,
    start_sampler,
)
from kerastune_optuna._search.slots import Budget, check_study, is_free, is_taken, room, take_one
from kerastune_optuna._search.stopping import Deadline, Ending, check_terminator

__all__ = [
    "Budget",
    "Deadline",
    "Ending",
    "asked",
    "check_pruner",
    "check_queue",
    "check_sampler",
    "check_study",
    "check_terminator",
    "chosen",
    "defaults",
    "enqueue",
    "is_free",
    "is_grid",
    "is_taken",
    "lay_out_grid",
    "learning",
    "made_pruner",
    "repeats",
    "room",
    "start_sampler",
    "take_one",
    "watched_alone",
]
