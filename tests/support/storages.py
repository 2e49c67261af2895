"""Each kind of storage that processes can share, empty, for tests that take all of them."""

from contextlib import contextmanager

import optuna
from optuna.storages.journal import JournalFileBackend

from tests.support.servers import database

KINDS = ["sqlite", "postgresql", "mariadb", "journal"]


@contextmanager
def empty(kind, folder):
    """Give a URL, the path of a journal, or None for the SQLite file of a tuner's directory."""
    if kind in ("postgresql", "mariadb"):
        with database(kind) as url:
            yield url
    else:
        yield {"sqlite": None, "journal": f"{folder}/journal.log"}[kind]


def opened(storage):
    """Return what a tuner takes as storage= for what `empty` gives."""
    if storage is None or "://" in storage:
        return storage
    return optuna.storages.JournalStorage(JournalFileBackend(storage))
