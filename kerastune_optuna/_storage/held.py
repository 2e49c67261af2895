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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError

from kerastune_optuna import _optuna

_SECONDS = 0.25  # between two writes
# A database may refuse longer texts, other characters and larger numbers. These are written at
# once, so that the error is raised where they come from.
_LONGEST, _LARGEST = 500, 2**31


@dataclass
class _OfTrial:
    """Hold the attributes of one trial as JSON, by key, and its reports, by step."""

    attrs: dict[str, str] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)


class Held:
    """Hold user attributes and reports of trials, and write them together.

    Args:
        database: The database.
        is_away: Returns whether an error says that the database may answer later.
    """

    def __init__(self, database: RDBStorage, is_away: Callable[[BaseException], bool]) -> None:
        self._database, self._is_away, self._lock = database, is_away, threading.Lock()
        self._trials: defaultdict[int, _OfTrial] = defaultdict(_OfTrial)
        self._due = 0.0

    def note(self, trial_id: int, key: str, value: Any) -> bool:
        """Hold a user attribute; return False if the database might refuse it."""
        text = json.dumps(value)  # raises an error for what cannot be stored, as Optuna does
        fits = key.isascii() and key.isprintable() and len(key) + len(text) <= _LONGEST
        if fits:
            with self._lock:
                self._trials[trial_id].attrs[key] = text
        return fits

    def report(self, trial_id: int, step: int, value: float) -> bool:
        """Hold the value of a step; return False if the database might refuse it."""
        if fits := step < _LARGEST:
            with self._lock:
                self._trials[trial_id].reports[step] = value
        return fits

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
            if self._trials:
                self._due = time.monotonic() + _SECONDS
            for trial_id in list(self._trials):
                if self._write(trial_id):
                    continue
                self._due = 0.0  # the next call of the trial itself is to raise the error
                if trial_id == of:
                    state = self._database.get_trial(trial_id).state
                    self._database.check_trial_is_updatable(trial_id, state)

    def _write(self, trial_id: int) -> bool:
        """Write what a trial noted; return False if it has ended or is gone."""
        noted = self._trials[trial_id]
        try:
            is_written = self._write_together(trial_id, noted)
        except Exception as error:
            if not self._is_away(error):  # otherwise each later call would raise it again
                del self._trials[trial_id]
            raise
        del self._trials[trial_id]
        return is_written

    def _write_together(self, trial_id: int, noted: _OfTrial) -> bool:
        try:
            with self._database.engine.begin() as connection:
                return _insert(connection, trial_id, noted)
        # Another process wrote the same at once, or MySQL takes two keys for the same.
        except (IntegrityError, KeyError):
            return self._write_singly(trial_id, noted)

    def _write_singly(self, trial_id: int, noted: _OfTrial) -> bool:
        try:
            for key, text in noted.attrs.items():
                self._database.set_trial_user_attr(trial_id, key, json.loads(text))
            for step, value in noted.reports.items():
                self._database.set_trial_intermediate_value(trial_id, step, value)
        except UpdateFinishedTrialError:
            return False
        return True


def _insert(connection: sqlalchemy.Connection, trial_id: int, noted: _OfTrial) -> bool:
    trials, attrs, reports = _optuna.tables_of_trials()
    asked = sqlalchemy.select(trials.c.state).where(trials.c.trial_id == trial_id)
    state = connection.execute(asked).scalar_one_or_none()
    if state is None or state.is_finished():
        return False
    texts = {key: {"value_json": text} for key, text in noted.attrs.items()}
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
    known = set(connection.execute(asked).scalars())
    for key in known:
        connection.execute(table.update().where(of_trial, column == key).values(**rows[key]))
    of = {"trial_id": trial_id}
    new = [{**of, column.name: key, **rows[key]} for key in rows if key not in known]
    if new:
        connection.execute(table.insert(), new)
