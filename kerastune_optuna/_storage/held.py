"""What trials note and report, held for a moment, so that a database writes it in one transaction.

Optuna's database takes one transaction for each attribute and each report, which is most of what a
short epoch costs. A process that is killed loses what it holds: what came within a quarter of a
second after its last write. Any other call about trials first writes what is held, and so does the
next beat of the process, ten seconds later at most.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import IntegrityError

from kerastune_optuna import _optuna
from kerastune_optuna._storage.excluded import Excluding
from kerastune_optuna._storage.patience import Delegating, is_away

_SECONDS = 0.25  # between two writes
_MOMENT = 0.1  # seconds for which a search does not read a study's attrs again, which is a query
# A database may refuse longer texts, other characters and larger numbers. These are written at
# once, so that the error is raised where they come from.
_LONGEST, _LARGEST = 500, 2**31
_REPORT = ("intermediate_value", "intermediate_value_type")  # the columns of a reported value


@dataclass
class _OfTrial:
    """Hold the attributes of one trial as JSON, by key, and its reports, by step."""

    attrs: dict[str, str] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class Held(Delegating):
    """Hold, in a search, user attributes and reports of trials, and write them together.

    Args:
        backend: The storage that all other calls go to.
        database: The database behind it.
        insist: Makes a call until it works, as the backend makes its own.
    """

    _backend: Excluding
    _database: RDBStorage
    _insist: Callable[[Callable[[], None]], None]
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _is_holding: bool = field(init=False, default=False)
    _trials: defaultdict[int, _OfTrial] = field(
        init=False, default_factory=partial(defaultdict, _OfTrial)
    )
    # When what is held should be written, though nothing else is asked.
    _due: float = field(init=False, default=0.0)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attr, soon or at once."""
        may_hold = self._is_holding and key.isascii() and key.isprintable()
        # json.dumps() raises an error for what cannot be stored, as Optuna does.
        if may_hold and len(key) + len(text := json.dumps(value)) <= _LONGEST:
            with self._lock:
                self._trials[trial_id].attrs[key] = text
            self._write(trial_id)
        else:
            self._call("set_trial_user_attr", trial_id, key, value)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Report a value, soon or at once."""
        if self._is_holding and step < _LARGEST:
            with self._lock:
                self._trials[trial_id].reports[step] = intermediate_value
            self._write(trial_id)
        else:
            self._call("set_trial_intermediate_value", trial_id, step, intermediate_value)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attrs; in a search, which asks ten times a trial, those of a moment ago."""
        return self._backend.get_study_system_attrs(study_id, _MOMENT if self._is_holding else 0.0)

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Write what is held, and make any other call."""
        self._write()
        return super()._call(name, *args, **kwargs)

    def _write(self, noting: int | None = None) -> None:
        """Write all that is held; drop what belongs to trials that another process has ended.

        Args:
            noting: The trial that has just noted something, if any. Then nothing is written unless
                the last write was long ago.

        Raises:
            UpdateFinishedTrialError: That trial has ended.
            KeyError: That trial was deleted.
        """
        is_due = noting is None or time.monotonic() >= self._due
        if is_due and self._trials:
            self._insist(partial(self._write_once, noting))

    def _write_once(self, noting: int | None) -> None:
        with self._lock:
            self._due = time.monotonic() + _SECONDS
            for trial_id, noted in list(self._trials.items()):
                try:
                    self._write_trial(trial_id, noted)
                except Exception as error:
                    if is_away(error):
                        raise
                    del self._trials[trial_id]  # otherwise each later call would raise it again
                    is_over = isinstance(error, UpdateFinishedTrialError | KeyError)
                    if not is_over or trial_id == noting:
                        raise
                    self._due = 0.0  # the next call of the trial itself is to raise the error
                else:
                    del self._trials[trial_id]

    def _write_trial(self, trial_id: int, noted: _OfTrial) -> None:
        """Write what a trial noted.

        Raises:
            UpdateFinishedTrialError: The trial has ended.
            KeyError: The trial was deleted.
        """
        # Optuna's methods without a commit would ask for the trial before each attribute and
        # report. A trial of 10 reports and 8 attributes, from ask() to tell(), so took 44 ms of
        # processor time on SQLite and 84 ms on PostgreSQL; with these statements, it took 22 and 39
        # ms, and with a transaction for each 52 and 102 ms (medians of 7 times 30 trials,
        # 2026-12-01, a busy machine).
        trials, attrs, reports = _optuna.TRIALS, _optuna.USER_ATTRS, _optuna.REPORTS
        asked = sqlalchemy.select(trials.c.state).where(trials.c.trial_id == trial_id)
        texts = {key: {"value_json": text} for key, text in noted.attrs.items()}
        values = {
            step: dict(zip(_REPORT, _optuna.stored_report(value), strict=True))
            for step, value in noted.reports.items()
        }
        # Another process wrote the same at once, or MySQL takes two keys for the same.
        with suppress(IntegrityError, KeyError), self._database.engine.begin() as connection:
            state = connection.execute(asked).scalar_one_or_none()
            if state is not None and not state.is_finished():
                _upsert(connection, attrs, attrs.c.key, trial_id, texts)
                _upsert(connection, reports, reports.c.step, trial_id, values)
                return
        # The trial has ended or is gone, which Optuna's methods tell by their errors, or they
        # update what the other process wrote.
        for key, text in noted.attrs.items():
            self._database.set_trial_user_attr(trial_id, key, json.loads(text))
        for step, value in noted.reports.items():
            self._database.set_trial_intermediate_value(trial_id, step, value)


@contextmanager
def few_transactions(storage: BaseStorage) -> Iterator[None]:
    """Write what trials note and report in a block a moment later, and together.

    Args:
        storage: What connect() returned. A storage that is no database writes at once.
    """
    # If it holds already, another thread searches with this storage.
    if not isinstance(storage, Held) or storage._is_holding:
        yield
        return
    storage._is_holding, storage._due = True, 0.0
    try:
        yield
        storage._write()
    finally:
        storage._is_holding = False
        with storage._lock:
            storage._trials.clear()


def _upsert(
    connection: sqlalchemy.Connection,
    table: sqlalchemy.Table,
    column: sqlalchemy.Column[Any],
    trial_id: int,
    rows: Mapping[Any, Mapping[str, Any]],
) -> None:
    """Insert rows of a trial, or update those that are there: databases differ in how they do both.

    Args:
        connection: A connection in a transaction.
        table: The table.
        column: The column that tells the rows of a trial apart.
        trial_id: The trial.
        rows: The other columns of each row, by what it has in that column.
    """
    if not rows:
        return
    of_trial = table.c.trial_id == trial_id
    asked = sqlalchemy.select(column).where(of_trial, column.in_(list(rows)))
    existing = set(connection.execute(asked).scalars())
    for key in existing:
        connection.execute(table.update().where(of_trial, column == key).values(**rows[key]))
    of = {"trial_id": trial_id}
    new = [{**of, column.name: key, **rows[key]} for key in rows if key not in existing]
    if new:
        connection.execute(table.insert(), new)
