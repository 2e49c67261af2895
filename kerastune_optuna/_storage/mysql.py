"""A check for MySQL and MariaDB, whose texts are shorter than those of other databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy

from kerastune_optuna._exceptions import ArgumentError

DIALECTS = ("mysql", "mariadb")
_LONGEST = 65_535  # bytes of a text in Optuna's tables
_NAMES = ("key", "param_name")  # the columns that say what a text belongs to


def refuse_long_texts(engine: sqlalchemy.Engine) -> None:
    """Let an engine of MySQL or MariaDB raise ArgumentError for a text that is too long.

    A server without strict mode would cut the text off, and then Optuna could not read any study. A
    strict one closes the connection if the text is very long, as if the server went away.
    """
    sqlalchemy.event.listen(engine, "before_cursor_execute", _check_texts)


def _check_texts(
    _connection: Any, _cursor: Any, _statement: str, parameters: Any, _context: Any, many: bool
) -> None:
    for given in parameters if many else [parameters]:
        row = given if isinstance(given, Mapping) else dict(enumerate(given))
        texts = [one for one in row.values() if isinstance(one, str)]
        longest = max((len(text.encode()) for text in texts), default=0)
        if longest > _LONGEST:
            name = next((f" as {row[column]!r}" for column in _NAMES if column in row), "")
            raise ArgumentError(
                f"The text to be stored{name} has {longest:,} bytes, and MySQL and MariaDB store "
                f"at most {_LONGEST:,}. Write it to a file and store its path here, or pass the "
                "URL of a PostgreSQL database as storage=."
            )
