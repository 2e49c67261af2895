"""A study: its objectives, what its trials record, who runs them, and which are best."""

from kerastune_optuna._study import liveness as liveness
from kerastune_optuna._study import opening as opening
from kerastune_optuna._study import ranking as ranking
from kerastune_optuna._study import retry as retry
from kerastune_optuna._study.card import Card as Card
from kerastune_optuna._study.constraints import Constraints as Constraints
from kerastune_optuna._study.ending import Ending as Ending
from kerastune_optuna._study.ending import Lesson as Lesson
from kerastune_optuna._study.home import Home as Home
from kerastune_optuna._study.liveness import Watch as Watch
from kerastune_optuna._study.objectives import MEASURED as MEASURED
from kerastune_optuna._study.objectives import Objective as Objective
from kerastune_optuna._study.objectives import Objectives as Objectives
from kerastune_optuna._study.objectives import parse_objectives as parse_objectives
from kerastune_optuna._study.objectives import sign_of as sign_of
from kerastune_optuna._study.opening import load as load
from kerastune_optuna._study.opening import parts_of as parts_of
from kerastune_optuna._study.record import StudyRecord as StudyRecord
from kerastune_optuna._study.record import TrialRecord as TrialRecord
from kerastune_optuna._study.record import derive as derive
