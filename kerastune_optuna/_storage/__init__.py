"""Databases and artifact stores, made safe for many processes and for networks that fail."""

from kerastune_optuna._storage.artifacts import PatientStore as PatientStore
from kerastune_optuna._storage.artifacts import StoreAwayError as StoreAwayError
from kerastune_optuna._storage.artifacts import StoreSource as StoreSource
from kerastune_optuna._storage.artifacts import WholeFileStore as WholeFileStore
from kerastune_optuna._storage.artifacts import is_of_full_disk as is_of_full_disk
from kerastune_optuna._storage.artifacts import may_pass as may_pass
from kerastune_optuna._storage.artifacts import telling_room as telling_room
from kerastune_optuna._storage.database import FILE as FILE
from kerastune_optuna._storage.database import INSTEAD as INSTEAD
from kerastune_optuna._storage.database import Location as Location
from kerastune_optuna._storage.database import check_storage as check_storage
from kerastune_optuna._storage.database import connect as connect
from kerastune_optuna._storage.database import in_directory as in_directory
from kerastune_optuna._storage.excluded import EXCLUDED as EXCLUDED
from kerastune_optuna._storage.held import few_transactions as few_transactions
from kerastune_optuna._storage.patience import MARK as MARK
from kerastune_optuna._storage.patience import one_try as one_try
from kerastune_optuna._storage.patience import reason as reason
from kerastune_optuna._storage.patience import unless_away as unless_away
from kerastune_optuna._storage.url import without_passwords as without_passwords
