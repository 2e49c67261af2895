"""URLs of databases: their drivers, their limits, and secrets to hide."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlalchemy

_NAMES = "pass|pwd|secret|token|key|auth|cred|odbc_connect"
_SECRET = re.compile(_NAMES, re.I)  # in the name of an option
_VALUE = r"""(?:\{.*?\}|'.*?'|".*?"|[^&\s'"]+)"""
# A password in a URL, or the value of an option whose name indicates a secret.
_SHOWN = re.compile(rf"((?<=://)[^:/@\s]*:)\S*(?=@)|((?:{_NAMES})[\w-]*(?:=|%3D)){_VALUE}", re.I)
# The drivers that our extras install, by what a URL without a driver begins with.
DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql"}
# Without these limits, a driver waits minutes for a dead network. All are in seconds, except
# tcp_user_timeout, which libpq reads as milliseconds.
_LIBPQ = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5}
_LIBPQ |= {"keepalives_count": 2, "tcp_user_timeout": 20_000}
LIMITS = {
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    "pymysql": {"connect_timeout": 5, "read_timeout": 30, "write_timeout": 30},
}


def masked(url: sqlalchemy.URL) -> str:
    """Return the text of a URL without its passwords."""
    return without_passwords(url.render_as_string(hide_password=True))


def without_passwords(text: str) -> str:
    """Return a text without the passwords, tokens and keys in it."""
    return _SHOWN.sub(r"\1\2***", text)


def why_not(url: sqlalchemy.URL, error: Exception, reason: str) -> str:
    """Return one line that says why a database cannot be opened, without passwords."""
    for secret in filter(None, _secrets(url)):
        reason = reason.replace(secret, "***")
    advice = "Check that the server runs, the database exists, and the driver is installed"
    if isinstance(error, ImportError):
        extra = _EXTRAS.get(url.drivername.partition("+")[2])
        advice = f'Run: pip install "kerastune_optuna[{extra}]"' if extra else "Install the driver"
    elif url.get_backend_name() == "sqlite":
        advice = "Check that its folder exists, and that the file is a whole copy of a database"
    return f"storage={masked(url)!r} cannot be opened: {reason.rstrip('.')}. {advice}."


def _secrets(url: sqlalchemy.URL) -> Iterator[str]:
    """Yield the secrets in a URL, including those in a connection string of ODBC."""
    yield url.password or ""
    for name, values in url.normalized_query.items():
        for value in values:
            for option in [f"{name}={value}", *re.split(r"[;\s]", value)]:
                key, _, secret = option.partition("=")
                if _SECRET.search(key):
                    yield secret.strip("{}'\"")
