"""Take up finished trials: train their configurations again, and rebuild or join their models."""

from kerastune_optuna._rerun.confirm import confirm as confirm
from kerastune_optuna._rerun.confirm import confirmation as confirmation
from kerastune_optuna._rerun.confirmation import Confirmation as Confirmation
from kerastune_optuna._rerun.confirmation import Confirmed as Confirmed
from kerastune_optuna._rerun.ensemble import Ensemble as Ensemble
from kerastune_optuna._rerun.ensemble import Member as Member
from kerastune_optuna._rerun.ensemble import ensemble as ensemble
from kerastune_optuna._rerun.from_files import FromFiles as FromFiles
from kerastune_optuna._rerun.greedy import Rows as Rows
from kerastune_optuna._rerun.models import Models as Models
from kerastune_optuna._rerun.refit import refit as refit
