"""A storage that waits for a database that does not answer, and loses or repeats no write.

It stands in front of another storage, as those of the modules `excluded` and `held` do, which are
subclasses of `Delegating` too.
"""

from __future__ import annotations

import abc
import copy
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import exc

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._exceptions import StorageError
from kerastune_optuna._storage import disks
from kerastune_optuna._storage.url import without_passwords

_T = TypeVar("_T")
MARK = "kerastune_optuna:mark"  # the system attr of a trial that identifies it
_ROOM = 2_000_000  # bytes by which SQLite's file and log grow in a search of some hundred trials
# Not the global generator of the module random, which a trial seeds for the user's code: a wait
# that draws from it would change the training.
_chance = random.Random()
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between two tries
_GONE = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError, OSError)
# The errors of gRPC and Redis, by name, since these packages may not be installed.
_GONE_NAMES = {"_InactiveRpcError", "BusyLoadingError", "ConnectionError", "TimeoutError"}
# Attributes of errors that hold SQLite's name of one, or the code of PostgreSQL: of sqlite3's,
# psycopg's and psycopg2's.
_CODES = ("sqlite_errorname", "sqlstate", "pgcode")
# What databases say to a user who may only read: the names of SQLite's errors, and a code of
# PostgreSQL.
_REFUSALS = ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH", "42501")
# What PostgreSQL says while a database may only be read, as when its disk is full. A connection
# that was opened meanwhile stays read-only afterwards.
_READ_ONLY = "25006"
_DAMAGES = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_REFUSALS_OF_MYSQL = (1044, 1045, 1142, 1143)  # access to a database, server, table or column
_SILENT_TRIES = 3  # half a second: after a lost connection, a new one is often enough
_in_a_hurry: ContextVar[bool] = ContextVar("in_a_hurry", default=False)


@contextmanager
def one_try() -> Iterator[None]:
    """Let calls to a storage or store raise their first error, for callers that must not wait."""
    token = _in_a_hurry.set(True)
    try:
        yield
    finally:
        _in_a_hurry.reset(token)


def is_away(error: BaseException) -> bool:
    """Whether an error says that the storage cannot be reached now, but may be later."""
    if isinstance(error, StorageError):
        return False  # we have waited already
    if isinstance(error, StorageInternalError):  # Optuna raises it for errors of the database
        return error.__cause__ is not None and is_away(error.__cause__)
    return isinstance(error, _GONE) or type(error).__name__ in _GONE_NAMES


@contextmanager
def unless_away() -> Iterator[None]:
    """Leave a block once an error says that the storage is away; raise other errors."""
    try:
        with one_try():
            yield
    except Exception as error:
        if not is_away(error):
            raise


def as_ours(context: sqlalchemy.engine.ExceptionContext) -> Exception | None:
    """Return the error that an engine should raise instead of a driver's error, if any.

    Optuna treats any error of SQLAlchemy as an error in its query: it tries another query on the
    lost connection, or creates a trial again that may exist already. It lets other errors pass.
    """
    error = context.original_exception
    codes = (getattr(error, name, None) for name in _CODES)
    code = next((str(code) for code in codes if code), "")
    if code.startswith(_REFUSALS) or (error.args and error.args[0] in _REFUSALS_OF_MYSQL):
        return StorageError(
            f"The storage denies access: {reason(error)}. You can read it as far as its owner "
            "allows; to search, pass a directory= or storage= that you may write to."
        )
    if code.startswith(_DAMAGES):
        return StorageError(
            f"The database is damaged: {reason(error)}. Put a whole copy of its file back, or pass "
            "another directory= or storage=."
        )
    if code == _READ_ONLY:
        context.is_disconnect = True  # SQLAlchemy then closes the pool's connections
    if not context.is_disconnect or context.is_pre_ping:
        return None
    return ConnectionError(str(error))


@dataclass(frozen=True)
class Patience:
    """Retry calls while a storage or store does not answer.

    Args:
        seconds: For how long to retry.
        what: Returns the name of the storage or store, for messages.
        is_away: Returns whether an error says that another try may work.
        lost: Makes the error that is finally raised, from a sentence that says what did not answer.
        check: Called before each try; raises an error if no try can work.
    """

    seconds: float
    what: Callable[[], str]
    is_away: Callable[[BaseException], bool]
    lost: Callable[[str], Exception]
    check: Callable[[], None] = lambda: None

    def insist(
        self,
        call: Callable[[], _T],
        done: Callable[[], _T | None] = lambda: None,
        *,
        until: Callable[[], bool] = _signals.requested,
    ) -> _T:
        """Call until it works, or the time for retries is over.

        Args:
            call: The function to call.
            done: Returns the result of an earlier try that worked, but whose answer was lost; None
                if there was none.
            until: Returns whether to stop retrying before that; by default after an interrupt.
        """
        began, pause, tries = time.monotonic(), _FIRST_PAUSE, 0
        while True:
            try:
                self.check()
                result = done() if tries else None
                return call() if result is None else result
            except Exception as error:
                if not self.is_away(error) or _in_a_hurry.get():
                    raise
                waited = time.monotonic() - began  # a client that retries by itself takes long
                if waited > self.seconds or until():
                    told = f"{self.what()} did not answer for {waited:.0f} s: {reason(error)}"
                    raise self.lost(f"{told.rstrip('.')}.") from error
                if tries == _SILENT_TRIES:
                    told = f"{self.what()} does not answer ({reason(error)})"
                    _signals.print_line(f"{told}: retrying for {self.seconds:g} s")
                time.sleep(pause * _chance.uniform(0.5, 1))
                pause, tries = min(2 * pause, _LONGEST_PAUSE), tries + 1


@dataclass(eq=False, repr=False)
class Delegating(BaseStorage):
    """Stand in front of a storage, and pass each call to it; the base of all storages of ours.

    Args:
        backend: Any Optuna storage.
    """

    _backend: BaseStorage  # named as in Optuna's _CachedStorage: _optuna.behind() unwraps all

    def __reduce__(self) -> Any:
        """Pickle as the backend does, whose copy gets the same storages in front of it."""
        return self._backend.__reduce__()

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Pass a call on; a subclass may act on all calls here."""
        return getattr(self._backend, name)(*args, **kwargs)


def _passing_on(name: str) -> Callable[..., Any]:
    """Return a method that makes a call by `_call`, as subclasses define it."""
    return lambda self, *args, **kwargs: self._call(name, *args, **kwargs)


for _name in vars(BaseStorage):
    if not _name.startswith("_"):
        setattr(Delegating, _name, _passing_on(_name))
abc.update_abstractmethods(Delegating)  # type: ignore[type-abstract] # no longer abstract


class Patient(Delegating):
    """Retry each call while the backend is away.

    Args:
        backend: Any Optuna storage.
        seconds: For how long each call is retried; then StorageError is raised.
        file: The file of a SQLite database; None for other storages.
        again: Makes such a storage from an unpickled backend and these seconds.
    """

    def __init__(
        self,
        backend: BaseStorage,
        seconds: float,
        file: Path | None,
        again: Callable[[BaseStorage, float], BaseStorage],
    ) -> None:
        super().__init__(backend)
        self.patience = Patience(
            seconds, lambda: "The storage", is_away, self._lost, self._check_file
        )
        self._file, self._again = file, again
        self._inode = None if file is None else disks.inode(file)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the backend alone: a copy listens to its own connections, and writes at once."""
        return self._again, (self._backend, self.patience.seconds)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial with a mark, by which a retry finds it if the first answer was lost."""
        marked = copy.copy(template_trial or create_trial(state=TrialState.RUNNING))
        marked.system_attrs = {**marked.system_attrs, MARK: uuid.uuid4().hex}
        return self.patience.insist(
            lambda: self._backend.create_new_trial(study_id, marked),
            lambda: self._marked(study_id, marked.system_attrs[MARK]),
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set a trial's state; return True also if an earlier try ended it, but got no answer."""
        return self.patience.insist(
            lambda: self._backend.set_trial_state_values(trial_id, state, values),
            lambda: self._is_set(trial_id, state, values) or None,
        )

    def delete_study(self, study_id: int) -> None:
        """Delete a study, unless an earlier try did so already, but its answer was lost."""
        self.patience.insist(
            lambda: self._backend.delete_study(study_id),
            lambda: not _optuna.has_study(self._backend, study_id) or None,
        )

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Make any other call."""
        return self.patience.insist(lambda: super(Patient, self)._call(name, *args, **kwargs))

    def _check_file(self) -> None:
        """Refuse to go on in a file that SQLite has open, but that nobody could find any more."""
        if self._file is not None and disks.inode(self._file) != self._inode:
            raise StorageError(
                f"{str(self._file)!r} is gone, or is another file than the one in use. To "
                "continue the study, put the whole folder back, or mount its disk again, "
                "before you run the script again; otherwise the script begins anew."
            )

    def _marked(self, study_id: int, mark: str) -> int | None:
        """Return the id of the trial with a mark; None if there is none."""
        trials = self._backend.get_all_trials(study_id, deepcopy=False)
        ids = (_optuna.id_of(one) for one in reversed(trials) if one.system_attrs.get(MARK) == mark)
        return next(ids, None)

    def _is_set(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        """Whether an earlier try has ended a trial.

        Of a trial that is RUNNING nobody knows whose try took it, this one or another worker's. It
        is left to that worker; if there is none, its lease lapses, and it is run again.
        """
        trial = self._backend.get_trial(trial_id)
        is_ended = state is not TrialState.RUNNING and trial.state is state
        return is_ended and (values is None or trial.values == list(values))

    def _lost(self, told: str) -> StorageError:
        room, folder = "", None if self._file is None else self._file.parent
        if folder is not None and shutil.disk_usage(folder).free < _ROOM:
            room = f"{disks.room(folder, _ROOM)}: make room there. "
        return StorageError(
            f"{told} {room}Call search() again when it does: finished trials are kept, and "
            "unfinished ones are resumed."
        )


def reason(error: BaseException) -> str:
    """Return the first line of an error of a driver or client, without passwords."""
    # Optuna raises these two instead of errors that say more.
    is_shell = isinstance(error, StorageInternalError | ImportError)
    cause = (is_shell and error.__cause__) or error
    text = str(getattr(cause, "orig", None) or cause).strip()
    return without_passwords(text.splitlines()[0]) if text else type(cause).__name__
