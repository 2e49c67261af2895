"""What a study is to do, what its trials record, who runs them, and which are best."""

from kerastune_optuna._study import divergence, opening, ranking, reason, record
from kerastune_optuna._study.claim import is_claimed, take
from kerastune_optuna._study.constraints import (
    Constraint,
    Constraints,
    are_broken,
    check_constraints,
)
from kerastune_optuna._study.divergence import came_to_nothing, has_diverged
from kerastune_optuna._study.heartbeat import Heart, Watch, is_dead, is_in_doubt
from kerastune_optuna._study.home import Home, deletion_of
from kerastune_optuna._study.liveness import (
    is_signed_elsewhere,
    is_signed_here,
    leave,
    leaving_all,
    machine,
    signature,
    started,
    whereabouts,
)
from kerastune_optuna._study.monitor import (
    Objective,
    direction_for,
    parse_objective,
    plain_name,
    sign_of,
)
from kerastune_optuna._study.objectives import (
    INFERENCE_MS,
    MEASURED,
    N_PARAMS,
    SECONDS,
    Objectives,
    parse_objectives,
)
from kerastune_optuna._study.opening import (
    default_name,
    finished,
    first_of_these_epochs,
    quiet_optuna,
)
from kerastune_optuna._study.parts import beside, family, make_part, wholes
from kerastune_optuna._study.ranking import front, value_of
from kerastune_optuna._study.record import (
    BACKUP,
    CONFIRMS,
    DIVERGED,
    NOT_FINITE,
    REPEAT_OF,
    RETRY_OF,
    SLOT,
)
from kerastune_optuna._study.retry import (
    DIED,
    INTERRUPTED,
    fail_and_retry,
    idle_retries,
    lay_out,
    was_cut_off,
)
from kerastune_optuna._study.seeds import derive, seed_of

__all__ = [
    "BACKUP",
    "CONFIRMS",
    "DIED",
    "DIVERGED",
    "INFERENCE_MS",
    "INTERRUPTED",
    "MEASURED",
    "NOT_FINITE",
    "N_PARAMS",
    "REPEAT_OF",
    "RETRY_OF",
    "SECONDS",
    "SLOT",
    "Constraint",
    "Constraints",
    "Heart",
    "Home",
    "Objective",
    "Objectives",
    "Watch",
    "are_broken",
    "beside",
    "came_to_nothing",
    "check_constraints",
    "default_name",
    "deletion_of",
    "derive",
    "direction_for",
    "divergence",
    "fail_and_retry",
    "family",
    "finished",
    "first_of_these_epochs",
    "front",
    "has_diverged",
    "idle_retries",
    "is_claimed",
    "is_dead",
    "is_in_doubt",
    "is_signed_elsewhere",
    "is_signed_here",
    "lay_out",
    "leave",
    "leaving_all",
    "machine",
    "make_part",
    "opening",
    "parse_objective",
    "parse_objectives",
    "plain_name",
    "quiet_optuna",
    "ranking",
    "reason",
    "record",
    "seed_of",
    "sign_of",
    "signature",
    "started",
    "take",
    "value_of",
    "was_cut_off",
    "whereabouts",
    "wholes",
]
