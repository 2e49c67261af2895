"""Connect to the study's storage: SQLite made safe for many processes, or any Optuna storage."""

from __future__ import annotations

import gc
import os
import sqlite3
import tempfile
import time
import warnings
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy.exc import ArgumentError as MalformedURL
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from kerastune_optuna import _optuna
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError, StorageError
from kerastune_optuna._storage import disks, journal
from kerastune_optuna._storage import url as _url
from kerastune_optuna._storage.excluded import Excluding
from kerastune_optuna._storage.held import Held
from kerastune_optuna._storage.patience import Patient, as_ours, is_away, reason

INSTEAD = (
    "pass storage= the URL of a PostgreSQL database, or an optuna.storages.JournalStorage with a "
    "file in a folder that all of them share"
)
FILE = "study.db"  # SQLite adds others next to it, whose names begin with this one
_BUSY_SECONDS = 5  # for which SQLite waits for a lock, ignoring Ctrl-C; after that, we wait
# What drivers and Optuna raise when they open a database that does not exist or has no tables.
_UNUSABLE = (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError, ValueError, OSError)
_TRIES = 5  # if two processes create the tables at once, one fails, and finds them at another try
# What databases say then; MySQL and MariaDB say the last one.
_AT_ONCE = ("already exists", "locked", "try restarting transaction")
PATIENCE = 300.0  # seconds for which a search waits for a database that does not answer


def in_directory(directory: Path, *, make: bool = False) -> str:
    """Return the absolute URL of a directory's SQLite database: the current folder may change.

    Args:
        directory: The folder for the study's files.
        make: Whether to create the folder and the file if there is no such file.

    Raises:
        ArgumentError: The path has characters that SQLAlchemy 2.0 cannot escape in a URL.
        StorageError: The folder cannot be created or written to.
    """
    file = directory.absolute() / FILE
    text = sqlalchemy.URL.create("sqlite", database=str(file)).render_as_string()
    if set("?{}") & set(text):
        raise ArgumentError(
            f"directory={str(directory)!r} has a '?', '{{' or '}}' in its path, which SQLAlchemy "
            f'{sqlalchemy.__version__} cannot open. Run: pip install "sqlalchemy>=2.1", or pass '
            "another folder."
        )
    if make and not file.is_file():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):  # a fixed name could be a symbolic link
                pass
            # SQLite would let only its owner write to the file, whatever the umask is.
            file.touch()
        except OSError as error:
            raise StorageError(
                f"directory={str(directory)!r} cannot be written: {error.strerror}. "
                "Pass a folder that you may write to."
            ) from error
    return text


def parse(text: str) -> sqlalchemy.URL:
    """Return a URL in its parts.

    Raises:
        ArgumentError: The text is not a URL.
    """
    try:
        url = sqlalchemy.make_url(text)
        if "@" in (url.host or ""):  # SQLAlchemy cut a password at the @ in it
            raise MalformedURL
    except (MalformedURL, ValueError):  # an invalid port raises a ValueError
        # The text itself is not shown: it may hold a password.
        raise ArgumentError(
            "storage= is not a database URL. Pass one like "
            '"sqlite:///study.db" or "postgresql://user:password@host/database", with %40 for '
            "an @ in the password."
        ) from None
    return url


class Location:
    """Tell where a storage has its studies, as far as its URL or its object says.

    Args:
        storage: A database URL or an Optuna storage.
    """

    def __init__(self, storage: str | BaseStorage) -> None:
        self._storage = storage
        behind = None if isinstance(storage, str) else _optuna.behind(storage)
        # The database behind a storage object; None if there is none.
        self.database = behind if isinstance(behind, RDBStorage) else None
        named = storage if self.database is None else self.database.url
        self.url = parse(named) if isinstance(named, str) else None
        # The file of a SQLite database; None if there is none, or only a URI names it.
        self.file: Path | None = None
        # Whether each thread would see another database, as with SQLite in memory.
        self.is_of_one_thread = False
        if self.url is not None and self.url.get_backend_name() == "sqlite":
            self.is_of_one_thread = self.url.database in (None, "", ":memory:")
            if not self.is_of_one_thread and "uri" not in self.url.query:
                self.file = Path(str(self.url.database)).absolute()
        # Whether no other process can see the storage.
        self.is_private = self.is_of_one_thread or isinstance(behind, InMemoryStorage)

    @property
    def shown(self) -> str:
        """What messages call the storage, without its passwords."""
        if not isinstance(self._storage, str):
            return "storage="
        return _url.masked(parse(self._storage))

    @property
    def is_there(self) -> bool:
        """Whether the file of a SQLite database exists; True for other storages."""
        return self.file is None or self.file.is_file()

    @property
    def inode(self) -> int | None:
        """A number that a SQLite file shares with no copy of it; None for other storages."""
        return None if self.file is None else disks.inode(self.file)

    @property
    def network_of_log(self) -> str | None:
        """The network filesystem of a SQLite file that has a write-ahead log, if any.

        We read the file's header, since SQLite itself would open the log over the network.
        """
        if self.file is None or not self.file.is_file():
            return None
        with self.file.open("rb") as header:
            has_log = header.read(19)[18:] == b"\x02"  # a read version of 2 stands for WAL
        return disks.network_of(self.file.parent) if has_log else None

    def anchored(self) -> str | BaseStorage:
        """Make the path of a SQLite file absolute, since workers may have another current folder.

        Returns:
            The URL or object with that path.
        """
        if self.url is None or self.file is None or set("?{}") & set(str(self.file)):
            return self._storage
        text = self.url.set(database=str(self.file)).render_as_string(hide_password=False)
        if self.database is None:
            return text
        self.database.url = text  # a pickled storage is opened again by its URL
        return self._storage

    def checkpoint(self) -> None:
        """Write the contents of SQLite's write-ahead log into its file, not waiting for a lock.

        SQLite does so by itself only once the log has 4 MB, which is more than most studies have.
        """
        if self.database is not None and self.database.engine.dialect.name == "sqlite":
            # If it fails, everything is still in the log.
            errors = suppress(sqlite3.Error, SQLAlchemyError, StorageError, OSError)
            # A separate connection, since no transaction may be open.
            with errors, closing(self.database.engine.raw_connection()) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def connect(
    storage: str | BaseStorage,
    patience: float | None = None,
    *,
    later: bool = False,
    make: bool = True,
) -> BaseStorage:
    """Return the storage for a URL or object, as a search uses it: safe and patient.

    Excluded trials have no result in it, each call waits while the database is away, and a database
    may hold what trials note; see few_transactions().

    Args:
        storage: A database URL or an Optuna storage.
        patience: Seconds for which each call is retried; None for as many as a search waits.
        later: Whether the storage worked before, so that connecting is retried for as long too.
        make: Whether to create the tables of a database that has none yet, to set SQLite's journal
            mode, and to warn if SQLite's file is on a network disk.

    Raises:
        ArgumentError: Optuna does not know the URL or object.
        StorageError: The database cannot be opened.
    """
    patience = PATIENCE if patience is None else patience
    storage = Location(storage).anchored()
    if isinstance(storage, str):
        opened = _connect_url(storage, time.monotonic() + patience if later else 0.0, make)
    else:
        opened = optuna.storages.get_storage(storage)  # adds a cache to a database
        _make_safe(opened, make)
    location = Location(opened)
    file, database = location.file, location.database
    if make and file is not None and (network := disks.network_of(file.parent)) is not None:
        warnings.warn(
            f"{str(file)!r} is on a network disk ({network}), so SQLite does without its "
            f"write-ahead log. If several machines search, {INSTEAD}.",
            UserWarning,
            stacklevel=2,
        )
    # mypy does not see the methods that Delegating has for BaseStorage's abstract ones.
    patient = Patient(opened, patience, file, partial(connect, make=make))  # type: ignore[abstract]
    excluding = Excluding(patient)  # type: ignore[abstract]
    if database is None:
        return excluding
    return Held(excluding, database, patient.patience.insist)  # type: ignore[abstract]


def _make_safe(storage: BaseStorage, make: bool) -> None:
    """Set up a database that the user opened as _connect_url does ours; set up a journal, too."""
    journal.make_safe(storage)
    location = Location(storage)
    if location.database is None or location.is_of_one_thread:
        return
    engine = location.database.engine
    is_safe = sqlalchemy.event.contains(engine, "begin", _begin_immediate)
    if engine.dialect.name == "sqlite" and not is_safe:
        sqlalchemy.event.listen(engine, "connect", partial(_on_connect, make=make))
        engine.dispose()  # earlier connections were opened without this listener
    _guard(engine)


def _guard(engine: sqlalchemy.Engine) -> None:
    """Let an engine serve many processes for days; SQLAlchemy adds each listener only once."""
    sqlalchemy.event.listen(engine, "handle_error", as_ours)
    if engine.dialect.name == "sqlite":
        # Optuna reads a trial's state and then writes it. With SQLite's deferred transactions, two
        # processes could read the same state: trials would run twice, and writers would get
        # "database is locked".
        sqlalchemy.event.listen(engine, "begin", _begin_immediate)


def check_storage(storage: object) -> None:
    """Refuse anything but a URL or an Optuna storage."""
    if isinstance(storage, BaseStorage):
        return
    if not isinstance(storage, str):
        raise ArgumentTypeError(
            f"storage={storage!r} is not an Optuna storage. Pass a database URL like "
            '"sqlite:///study.db", an object from optuna.storages, or None.'
        )
    parse(storage)


def _connect_url(storage: str, gives_up: float, make: bool) -> BaseStorage:
    """Open the database of a URL; until a time, try again if it does not answer."""
    url = parse(storage)
    if (driver := _url.DRIVERS.get(url.drivername)) is not None:  # unless the URL names one
        url = url.set(drivername=f"{url.drivername}+{driver}")
    tries = 0
    while True:
        tries += 1
        try:
            text, options = url.render_as_string(hide_password=False), _options(url, make)
            opened = RDBStorage(text, engine_kwargs=options, skip_table_creation=not make)
            _guard(opened.engine)
            return optuna.storages.get_storage(opened)
        except _UNUSABLE as error:
            said = reason(error)
            # Another process was creating the same tables, so that another try finds them.
            is_made = isinstance(error, IntegrityError) or any(sign in said for sign in _AT_ONCE)
            is_waited_for = is_away(error) and time.monotonic() < gives_up
            if not (is_made and tries < _TRIES) and not is_waited_for:
                # From None: the cause may show the password.
                raise StorageError(_url.why_not(url, error, said)) from None
        # The engine of that try, which is lost, still holds connections, of which a server has few.
        gc.collect()
        time.sleep(0.2)


def _options(url: sqlalchemy.URL, make: bool) -> dict[str, Any]:
    """Return the options that an engine needs to serve many processes for days."""
    if url.get_backend_name() != "sqlite":
        # A URL may set limits of its own.
        limits = _url.LIMITS.get(url.get_driver_name(), {}).items()
        return {
            # This detects a connection that the server closed while it was idle.
            "pool_pre_ping": True,
            "pool_recycle": 1800,
            # Optuna ends each transaction itself. When a connection returns to the pool,
            # SQLAlchemy's rollback would cost a round trip, and print a traceback if the connection
            # is lost.
            "pool_reset_on_return": None,
            "connect_args": {name: limit for name, limit in limits if name not in url.query},
        }
    file = Location(url.render_as_string(hide_password=False)).file
    # SQLite makes files next to its own.
    may_write = file is not None and all(os.access(one, os.W_OK) for one in (file, file.parent))
    if file is None or not file.is_file() or may_write:
        return {
            "connect_args": {"timeout": _BUSY_SECONDS},
            "pool_events": [(partial(_on_connect, make=make), "connect")],
        }
    return {
        "creator": partial(_connect_to_read, file),
        "poolclass": sqlalchemy.NullPool,  # since the file's owner may begin a search at any time
        "pool_events": [(partial(_on_connect, make=False), "connect")],
    }


def _connect_to_read(file: Path) -> sqlite3.Connection:
    """Connect to a file that may only be read."""
    # To read a file in WAL mode, SQLite creates a log, unless we declare the file immutable. While
    # a process writes, the log exists already.
    is_in_use = Path(f"{file}-wal").exists()
    uri = f"{file.as_uri()}?mode=ro{'' if is_in_use else '&immutable=1'}"
    return sqlite3.connect(uri, _BUSY_SECONDS, check_same_thread=False, uri=True)


def _on_connect(connection: Any, _record: Any, *, make: bool) -> None:
    """Set up a connection to SQLite, and the file's journal mode if this process may choose it."""
    connection.isolation_level = None  # otherwise sqlite3 itself begins deferred transactions
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    if make:
        _, _, file = connection.execute("PRAGMA database_list").fetchone()
        # SQLite keeps the index of a write-ahead log in memory that machines cannot share.
        mode = "WAL" if disks.network_of(Path(file).parent) is None else "DELETE"
        connection.execute(f"PRAGMA journal_mode = {mode}")  # SQLite stores it in the file
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        connection.execute("PRAGMA synchronous = NORMAL")  # safe only with a write-ahead log


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
