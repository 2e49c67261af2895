"""The URLs of databases: read, given a driver, and shown without their passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import sqlalchemy
from sqlalchemy.exc import ArgumentError as MalformedURL

from kerastune_optuna._exceptions import ArgumentError

_NAMES = "pass|pwd|secret|token|key|auth|cred|odbc_connect"
_SECRET = re.compile(_NAMES, re.I)  # in the name of an option
_VALUE = r"""(?:\{.*?\}|'.*?'|".*?"|[^&\s'"]+)"""
# A password in a URL, or the value of an option whose name says that it is secret.
_SHOWN = re.compile(rf"((?<=://)[^:/@\s]*:)\S*(?=@)|((?:{_NAMES})[\w-]*(?:=|%3D)){_VALUE}", re.I)
_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql"}


def parse(text: str) -> sqlalchemy.URL:
    """Return a URL in its parts.

    Raises:
        ArgumentError: The text is no URL.
    """
    try:
        url = sqlalchemy.make_url(text)
        if "@" in (url.host or ""):  # SQLAlchemy cut a password at the @ in it
            raise MalformedURL
    except (MalformedURL, ValueError):  # a wrong port raises a ValueError that shows it
        # The text itself is not shown: it may hold a password.
        raise ArgumentError(
            "storage= is a text that is no database URL. Pass one like "
            '"sqlite:///study.db" or "postgresql://user:password@host/database", with %40 for '
            "an @ in the password."
        ) from None
    return url


def with_driver(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """Return the URL with the driver that our extras install, where it names none."""
    driver = _DRIVERS.get(url.drivername)
    return url if driver is None else url.set(drivername=f"{url.drivername}+{driver}")


def masked(url: sqlalchemy.URL) -> str:
    """Return the text of a URL without its passwords."""
    return without_passwords(url.render_as_string(hide_password=True))


def without_passwords(text: str) -> str:
    """Return a text without the passwords, tokens and keys in it."""
    return _SHOWN.sub(r"\1\2***", text)


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


def why_not(url: sqlalchemy.URL, error: Exception, reason: str) -> str:
    """Return one line on why a database cannot be opened, without the passwords."""
    for secret in filter(None, _secrets(url)):
        reason = reason.replace(secret, "***")
    advice = "Check that the server runs, the database exists, and the driver is installed"
    if isinstance(error, ImportError):
        extra = _EXTRAS.get(url.drivername.partition("+")[2])
        advice = f'Run: pip install "kerastune_optuna[{extra}]"' if extra else "Install the driver"
    return f"storage={masked(url)!r} cannot be opened: {reason.rstrip('.')}. {advice}."


def _secrets(url: sqlalchemy.URL) -> Iterator[str]:
    """Yield the secrets in a URL, also those in a connection string of ODBC."""
    yield url.password or ""
    # Not url.normalized_query, which raises an AttributeError in SQLAlchemy 2.0.5.
    for name, values in url.query.items():
        for value in (values,) if isinstance(values, str) else values:
            for option in [f"{name}={value}", *re.split(r"[;\s]", value)]:
                key, _, secret = option.partition("=")
                if _SECRET.search(key):
                    yield secret.strip("{}'\"")
