"""A storage that waits for a database that went away, and loses and repeats nothing meanwhile."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from sqlalchemy import exc

from kerastune_optuna import _interrupt
from kerastune_optuna._exceptions import StorageError

if TYPE_CHECKING:
    from optuna.trial import TrialState

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between two tries
_GONE = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError, OSError)
# The errors of gRPC and Redis, which need not be installed, by their names.
_GONE_NAMES = {"_InactiveRpcError", "BusyLoadingError", "ConnectionError", "TimeoutError"}
_in_a_hurry: ContextVar[bool] = ContextVar("in_a_hurry", default=False)


@contextmanager
def one_try() -> Iterator[None]:
    """Let calls to the storage raise at once: training waits for no database."""
    token = _in_a_hurry.set(True)
    try:
        yield
    finally:
        _in_a_hurry.reset(token)


def is_away(error: BaseException) -> bool:
    """Whether an error says that the storage cannot be reached now, but may be later."""
    if isinstance(error, StorageError):
        return False  # somebody has waited for it already
    if isinstance(error, StorageInternalError):  # what Optuna raises for errors of the database
        return error.__cause__ is not None and is_away(error.__cause__)
    return isinstance(error, _GONE) or type(error).__name__ in _GONE_NAMES


class _Patient(BaseStorage):
    """Hand each call to a storage, again and again while it is away."""

    def __init__(self, backend: BaseStorage, patience: float, where: Callable[[], str]) -> None:
        # Named as in Optuna's own wrapper, so that what unwraps the one unwraps the other.
        self._backend = backend
        self._patience = patience
        self._where = where

    def _insist(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the backend until it answers, or patience ends."""
        gives_up, pause, tried = time.monotonic() + self._patience, _FIRST_PAUSE, False
        while True:
            try:
                return getattr(self._backend, name)(*args, **kwargs)
            except UpdateFinishedTrialError:
                if tried and name == "set_trial_state_values" and self._is_so(*args, **kwargs):
                    return True  # an earlier try came through, and only its answer was lost
                raise
            except Exception as error:
                if not is_away(error) or _in_a_hurry.get():
                    raise
                if time.monotonic() > gives_up or _interrupt.requested():
                    raise self._lost(error) from error
                if pause == _FIRST_PAUSE:
                    self._tell(error)
                time.sleep(pause * random.uniform(0.5, 1))
                pause, tried = min(2 * pause, _LONGEST_PAUSE), True

    def _is_so(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        """Whether a trial has the state that was to be written."""
        trial = self._backend.get_trial(trial_id)
        return trial.state is state and (values is None or trial.values == list(values))

    def _tell(self, error: Exception) -> None:
        print(
            f"The storage does not answer ({_reason(error)}): trying for {self._patience:g} s",
            file=sys.stderr,  # whatever verbose says: it is not progress
            flush=True,
        )

    def _lost(self, error: Exception) -> StorageError:
        return StorageError(
            f"The storage did not answer for {self._patience:g} s: {_reason(error)}. "
            f"{self._where()}Call search() again when it does: finished trials are kept, and "
            "unfinished ones are resumed. storage_patience= allows longer."
        )


def _insisting(name: str) -> Callable[..., Any]:
    def method(self: _Patient, *args: Any, **kwargs: Any) -> Any:
        return self._insist(name, args, kwargs)

    method.__name__ = name
    return method


_CALLS = [name for name in vars(BaseStorage) if not name.startswith("_")]
_PatientStorage = type("PatientStorage", (_Patient,), {name: _insisting(name) for name in _CALLS})


def patient(backend: BaseStorage, patience: float, where: Callable[[], str]) -> BaseStorage:
    """Return a storage that retries what fails while the backend is away.

    Args:
        backend: Any Optuna storage.
        patience: Seconds for which each call is tried.
        where: Tells in a sentence what the user should look at, for the error in the end.

    Returns:
        A storage that raises StorageError once its patience has ended.
    """
    return cast(BaseStorage, _PatientStorage(backend, patience, where))


def _reason(error: BaseException) -> str:
    """Return the first line of what the driver said."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    text = str(getattr(cause, "orig", None) or cause).strip()
    return text.splitlines()[0] if text else type(cause).__name__
