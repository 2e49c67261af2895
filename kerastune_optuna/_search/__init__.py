"""What is tried next, and when to stop."""

from kerastune_optuna._search import asked as asked
from kerastune_optuna._search import repeats as repeats
from kerastune_optuna._search.grid import is_grid as is_grid
from kerastune_optuna._search.grid import lay_out_grid as lay_out_grid
from kerastune_optuna._search.learning import learning as learning
from kerastune_optuna._search.one_objective import watched_alone as watched_alone
from kerastune_optuna._search.outline import outlined as outlined
from kerastune_optuna._search.queue import check_queue as check_queue
from kerastune_optuna._search.queue import chosen as chosen
from kerastune_optuna._search.queue import defaults as defaults
from kerastune_optuna._search.queue import enqueue as enqueue
from kerastune_optuna._search.samplers import check_pruner as check_pruner
from kerastune_optuna._search.samplers import check_sampler as check_sampler
from kerastune_optuna._search.samplers import made_pruner as made_pruner
from kerastune_optuna._search.samplers import start_sampler as start_sampler
from kerastune_optuna._search.slots import Budget as Budget
from kerastune_optuna._search.slots import check_study as check_study
from kerastune_optuna._search.slots import is_free as is_free
from kerastune_optuna._search.slots import is_taken as is_taken
from kerastune_optuna._search.slots import room as room
from kerastune_optuna._search.slots import take_one as take_one
from kerastune_optuna._search.space import learn_ranges as learn_ranges
from kerastune_optuna._search.stopping import Deadline as Deadline
from kerastune_optuna._search.stopping import Ending as Ending
