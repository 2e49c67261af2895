"""A study: its objectives, what its trials record, who runs them, and which are kept."""

from kerastune_optuna._study.card import Card as Card
from kerastune_optuna._study.constraints import Constraints as Constraints
from kerastune_optuna._study.ending import Ending as Ending
from kerastune_optuna._study.ending import Lesson as Lesson
from kerastune_optuna._study.files import TrialFiles as TrialFiles
from kerastune_optuna._study.home import Home as Home
from kerastune_optuna._study.keeping import Keeping as Keeping
from kerastune_optuna._study.liveness import Watch as Watch
from kerastune_optuna._study.liveness import machine as machine
from kerastune_optuna._study.liveness import own_runs as own_runs
from kerastune_optuna._study.objectives import Objective as Objective
from kerastune_optuna._study.objectives import Objectives as Objectives
from kerastune_optuna._study.objectives import sign_of as sign_of
from kerastune_optuna._study.ranking import Ranking as Ranking
from kerastune_optuna._study.record import StudyRecord as StudyRecord
from kerastune_optuna._study.record import TrialRecord as TrialRecord
from kerastune_optuna._study.record import derive as derive
from kerastune_optuna._study.retry import fail_and_retry as fail_and_retry
from kerastune_optuna._study.retry import idle_retries as idle_retries
from kerastune_optuna._study.retry import lay_out as lay_out
