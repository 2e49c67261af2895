"""Connect to the study's storage: SQLite made safe for many processes, or any Optuna storage."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy.exc import ArgumentError as MalformedURL
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError, StorageError

_BUSY_SECONDS = 60
_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
_TRIES = 5  # two processes that create the tables at once: one of them fails and finds them made


def in_directory(directory: Path) -> str:
    """Return the URL of the SQLite database in a directory, whatever folder is current later."""
    return f"sqlite:///{directory.absolute() / 'study.db'}"


def connect(storage: str | BaseStorage) -> BaseStorage:
    """Return the storage for a URL or object.

    Raises:
        ArgumentError: The URL or object is none that Optuna knows.
        StorageError: The database cannot be opened.
    """
    if isinstance(storage, str):
        return _connect_url(_with_driver(_parse(storage)))
    if (database := _database(storage)) is not None and not _is_in_memory(database.engine.url):
        _make_safe(database)
    return storage


def _database(storage: BaseStorage) -> RDBStorage | None:
    """Return the database behind a storage object; None where there is none."""
    backend = getattr(storage, "_backend", storage)  # Optuna wraps it to cache finished trials
    return backend if isinstance(backend, RDBStorage) else None


def _is_in_memory(url: sqlalchemy.URL) -> bool:
    in_memory = url.database in (None, "", ":memory:")
    return url.get_backend_name() == "sqlite" and in_memory


def _make_safe(database: RDBStorage) -> None:
    """Give a database that the user opened what _open gives to ours."""
    engine = database.engine
    if engine.dialect.name == "sqlite" and not sqlalchemy.event.contains(
        engine, "begin", _begin_immediate
    ):
        sqlalchemy.event.listen(engine, "connect", _on_connect)
        sqlalchemy.event.listen(engine, "begin", _begin_immediate)
        engine.dispose()  # connections that were opened before go without


def check_shared(storage: str | BaseStorage) -> None:
    """Refuse a storage that lives in this process alone.

    Raises:
        ArgumentError: Other workers could not see the study.
    """
    if isinstance(storage, str):
        in_memory = _is_in_memory(_parse(storage))
    elif (database := _database(storage)) is not None:
        in_memory = _is_in_memory(database.engine.url)
    else:
        in_memory = isinstance(storage, InMemoryStorage)
    if in_memory:
        raise ArgumentError(
            "storage= lives in the memory of this process, where other workers cannot see it. "
            "Leave storage out for SQLite in directory, or pass the URL of a database."
        )


def check_storage(storage: object) -> None:
    """Refuse what is neither a URL, an Optuna storage, nor None."""
    if storage is None or isinstance(storage, BaseStorage):
        return
    if not isinstance(storage, str):
        raise ArgumentTypeError(
            f"storage={storage!r} is no Optuna storage. Pass a database URL like "
            '"sqlite:///study.db", an object from optuna.storages, or None.'
        )
    _parse(storage)


def _parse(text: str) -> sqlalchemy.URL:
    try:
        return sqlalchemy.make_url(text)
    except (MalformedURL, ValueError):  # a wrong port is a ValueError that shows a part
        # The text itself is not shown: it may hold a password.
        raise ArgumentError(
            "storage= is a text that is no database URL. Pass one like "
            '"sqlite:///study.db" or "postgresql://user:password@host/database".'
        ) from None


def _with_driver(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """Return the URL with the driver that our extras install, where it names none."""
    driver = _DRIVERS.get(url.drivername)
    return url if driver is None else url.set(drivername=f"{url.drivername}+{driver}")


def _connect_url(url: sqlalchemy.URL) -> BaseStorage:
    for tries_left in reversed(range(_TRIES)):
        try:
            return optuna.storages.get_storage(_open(url))
        except (SQLAlchemyError, ImportError, RuntimeError, ValueError, OSError) as error:
            if tries_left == 0 or not _made_by_another(error):
                raise StorageError(_why(url, error)) from None  # a cause may show the password
        time.sleep(0.2)
    raise AssertionError("the last try returns or raises")


def _open(url: sqlalchemy.URL) -> RDBStorage:
    """Open a database with what its kind needs to serve many processes for days."""
    text = url.render_as_string(hide_password=False)
    if url.get_backend_name() != "sqlite":
        # An idle connection that the server closed is noticed before it is used.
        return RDBStorage(text, engine_kwargs={"pool_pre_ping": True, "pool_recycle": 1800})
    storage = RDBStorage(
        text,
        engine_kwargs={
            "connect_args": {"timeout": _BUSY_SECONDS},
            "pool_events": [(_on_connect, "connect")],
        },
    )
    # Optuna reads a trial's state and then writes it. Under SQLite's deferred transactions two
    # processes read the same state: trials run twice and writers meet "database is locked".
    sqlalchemy.event.listen(storage.engine, "begin", _begin_immediate)
    return storage


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # or sqlite3 begins a deferred transaction of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def make_directory(directory: Path) -> None:
    """Make the folder for the study's files where there is none.

    Raises:
        StorageError: It cannot be made, or not be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"directory={str(directory)!r} cannot be written: {error.strerror}. "
            "Pass a folder that you may write to."
        ) from error


def _made_by_another(error: Exception) -> bool:
    """Whether another process was making the same tables, so that trying again will do."""
    return isinstance(error, IntegrityError) or any(
        sign in str(error) for sign in ("already exists", "locked")
    )


def _why(url: sqlalchemy.URL, error: Exception) -> str:
    """Return one line on what failed, without the password."""
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()
    reason = cause[0] if cause else type(error).__name__
    hidden = [key for key in url.query if "pass" in key.lower() or key.lower() == "pwd"]
    for secret in (url.password, *(url.query[key] for key in hidden)):
        if secret:
            reason = reason.replace(str(secret), "***")
    masked = url.update_query_dict(dict.fromkeys(hidden, "***"))
    shown = masked.render_as_string(hide_password=True)
    return (
        f"storage={shown!r} cannot be opened: {reason} Check that the server runs, the database "
        "exists, and the driver is installed."
    )
