"""What trials note and report, held for a moment, so that a database writes it in one transaction.

Optuna's database takes one transaction for each attribute and each report, which is most of what a
short epoch costs. Only the process itself is ahead of the database, by a quarter of a second, and
only in what comes last: any other call to the storage first writes all that is held.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError

from kerastune_optuna import _optuna

_SECONDS = 0.25  # between two writes: what a process notes in this time is lost if it is killed
_LONGEST = 1000  # characters of what is held: the database may refuse longer texts, which it says


@dataclass
class _OfTrial:
    """Hold the attributes of one trial, by key, and its reports, by step."""

    attrs: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)


class Held:
    """Hold user attributes and reports of trials, and write them together.

    Args:
        database: The database.
    """

    def __init__(self, database: RDBStorage) -> None:
        self._database, self._lock = database, threading.Lock()
        self._trials: dict[int, _OfTrial] = {}
        self._due = 0.0

    def note(self, trial_id: int, key: str, value: Any) -> bool:
        """Hold a user attribute; return False if it is so long that the database may refuse it."""
        text = json.dumps(value)  # raises an error for what cannot be stored, as Optuna does
        fits = len(text) + len(key) <= _LONGEST
        if fits:
            with self._lock:
                self._trials.setdefault(trial_id, _OfTrial()).attrs[key] = value
        return fits

    def report(self, trial_id: int, step: int, value: float) -> None:
        """Hold the value of a step."""
        with self._lock:
            self._trials.setdefault(trial_id, _OfTrial()).reports[step] = value

    def is_due(self) -> bool:
        """Whether the last write was so long ago that what is held should be written now."""
        return time.monotonic() >= self._due

    def write(self, of: int | None = None) -> None:
        """Write all that is held; drop what belongs to trials that another process has ended.

        Args:
            of: The trial of the caller, who must know if it has ended or is gone.

        Raises:
            UpdateFinishedTrialError: The trial of the caller has ended.
            KeyError: The trial of the caller was deleted.
        """
        with self._lock:
            for trial_id, noted in list(self._trials.items()):
                is_written = self._write(trial_id, noted)
                del self._trials[trial_id]  # not before: if the database is away, all is kept
                if not is_written and trial_id == of:
                    state = self._database.get_trial(trial_id).state
                    self._database.check_trial_is_updatable(trial_id, state)
            self._due = time.monotonic() + _SECONDS

    def _write(self, trial_id: int, noted: _OfTrial) -> bool:
        """Write what a trial noted; return False if it has ended or is gone."""
        try:
            with self._database.engine.begin() as connection:
                return _insert(connection, trial_id, noted)
        except IntegrityError:  # another process wrote the same at once
            for key, value in noted.attrs.items():
                self._database.set_trial_user_attr(trial_id, key, value)
            for step, value in noted.reports.items():
                self._database.set_trial_intermediate_value(trial_id, step, value)
            return True


def _insert(connection: sqlalchemy.Connection, trial_id: int, noted: _OfTrial) -> bool:
    trials, attrs, reports = _optuna.tables_of_trials()
    asked = sqlalchemy.select(trials.c.state).where(trials.c.trial_id == trial_id)
    state = connection.execute(asked).scalar_one_or_none()
    if state is None or state.is_finished():
        return False
    texts = {key: {"value_json": json.dumps(value)} for key, value in noted.attrs.items()}
    values = {step: _optuna.stored_report(value) for step, value in noted.reports.items()}
    _upsert(connection, attrs, attrs.c.key, trial_id, texts)
    _upsert(connection, reports, reports.c.step, trial_id, values)
    return True


def _upsert(
    connection: sqlalchemy.Connection,
    table: sqlalchemy.Table,
    column: sqlalchemy.Column[Any],
    trial_id: int,
    rows: Mapping[Any, Mapping[str, Any]],
) -> None:
    """Insert rows of a trial, or update those that are there; SQL has no word for it that all know.

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
    known = set(connection.execute(asked).scalars())
    for key in known:
        connection.execute(table.update().where(of_trial, column == key).values(**rows[key]))
    of = {"trial_id": trial_id}
    new = [{**of, column.name: key, **rows[key]} for key in rows if key not in known]
    if new:
        connection.execute(table.insert(), new)
