"""Databases and artifact stores, safe and patient."""

from kerastune_optuna._storage import database, url
from kerastune_optuna._storage.artifacts import (
    OpenedOnce,
    StoreAwayError,
    StoreSource,
    WholeFileStore,
    check_store,
    digest,
    fetch,
    may_pass,
    open_store,
    put,
    remove,
    size_of,
    telling_room,
    upload,
)
from kerastune_optuna._storage.database import gives_to_one, is_of_one_thread, is_private
from kerastune_optuna._storage.patience import MARK, WORKER, is_away, one_try, reason

__all__ = [
    "MARK",
    "WORKER",
    "OpenedOnce",
    "StoreAwayError",
    "StoreSource",
    "WholeFileStore",
    "check_store",
    "database",
    "digest",
    "fetch",
    "gives_to_one",
    "is_away",
    "is_of_one_thread",
    "is_private",
    "may_pass",
    "one_try",
    "open_store",
    "put",
    "reason",
    "remove",
    "size_of",
    "telling_room",
    "upload",
    "url",
]
