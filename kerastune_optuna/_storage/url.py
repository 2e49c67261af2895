"""The URLs of databases: read, given a driver, and shown without their passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import ArgumentError as MalformedURL

from kerastune_optuna._exceptions import ArgumentError

_PASSWORDS = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*(?=@)|((?:pass\w*|pwd)=)[^&\s'\"]+", re.I)
_SECRET = re.compile(r"pass|pwd|secret|token|key|auth|cred", re.I)  # in the names of options
_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}


def parse(text: str) -> sqlalchemy.URL:
    """Return a URL in its parts.

    Raises:
        ArgumentError: The text is none.
    """
    try:
        return sqlalchemy.make_url(text)
    except (MalformedURL, ValueError):  # a wrong port is a ValueError that shows a part
        # The text itself is not shown: it may hold a password.
        raise ArgumentError(
            "storage= is a text that is no database URL. Pass one like "
            '"sqlite:///study.db" or "postgresql://user:password@host/database".'
        ) from None


def with_driver(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """Return the URL with the driver that our extras install, where it names none."""
    driver = _DRIVERS.get(url.drivername)
    return url if driver is None else url.set(drivername=f"{url.drivername}+{driver}")


def masked(url: sqlalchemy.URL) -> str:
    """Return the text of a URL without its passwords."""
    hidden = url.update_query_dict(dict.fromkeys(_secrets(url), "***"))
    return hidden.render_as_string(hide_password=True)


def without_passwords(text: str) -> str:
    """Return a text without the passwords of the URLs in it."""
    return _PASSWORDS.sub(r"\1\2:***" if "://" in text else r"\2***", text)


def without_secrets(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments of a command without passwords, tokens and keys."""
    hides = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        is_secret = _SECRET.search(name) is not None and "://" not in name
        if hides:
            yield "***"
        elif equals and is_secret:
            yield f"{name}=***"
        else:
            yield without_passwords(argument)
        hides = not hides and not equals and is_secret and name.startswith("-")


def why_not(url: sqlalchemy.URL, error: Exception) -> str:
    """Return one line on why a database cannot be opened, without the passwords."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    reason = lines[0] if lines else type(cause).__name__
    for secret in (url.password, *(url.query[key] for key in _secrets(url))):
        if secret:
            reason = reason.replace(str(secret), "***")
    return (
        f"storage={masked(url)!r} cannot be opened: {reason} Check that the server runs, the "
        "database exists, and the driver is installed."
    )


def _secrets(url: sqlalchemy.URL) -> list[str]:
    """Return the names of a URL's options that hold passwords."""
    return [key for key in url.query if "pass" in key.lower() or key.lower() == "pwd"]
