"""URLs of databases are shown without what is secret in them, and name the driver they lack."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kerastune_optuna._storage import url as _url
from kerastune_optuna._storage.patience import reason

HIDING = [
    ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
    ("postgresql://me:my s3cret@host/db", "postgresql://me:***@host/db"),
    ("postgresql://:s3cret@[::1]:5/db", "postgresql://:***@[::1]:5/db"),
    ("postgresql://host/db?password=s3cret&password=s3cret2", "password=***&password=***"),
    ("postgresql://host/db?dsn=user%3Dme%20password%3Ds3cret", "user%3Dme+password%3D***"),
    ("oracle://host/db?wallet_password=s3cret", "?wallet_password=***"),
    ("mssql://host/db?token=s3cret&timeout=3", "?timeout=3&token=***"),
    ("mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D%7Bs3+cret%7D", "?odbc_connect=***"),
]


@pytest.mark.parametrize(("text", "shown"), HIDING)
def test_a_url_is_shown_without_its_secrets(text, shown):
    """A password, a token or the connection string of ODBC is replaced, and the rest is shown."""
    masked = _url.masked(_url.parse(text))
    assert masked.endswith(shown)
    assert "cret" not in masked


@pytest.mark.parametrize(
    "text",
    [
        "Got postgresql://me:p@ss:s3cret@host/db",
        "Got host=db password='my s3cret'",
        "Got DRIVER=x;PWD={my;s3cret};UID=me",
        "Got oracle://host/db?wallet_password=s3cret",
        "Got mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Ds3cret",
        "Got --api-token=s3cret",
    ],
)
def test_a_text_is_shown_without_its_secrets(text):
    """What a user typed or a driver said is shown up to the secret."""
    assert "s3cret" not in _url.without_passwords(text)
    assert _url.without_passwords(text)[:8] == text[:8]
    assert "s3cret" not in reason(ConnectionError(text))


@pytest.mark.parametrize(
    "text",
    ["sqlite:////home/me/study.db", "postgresql://me@host:5432/db?connect_timeout=3"],
)
def test_a_url_without_secrets_is_shown_as_it_is(text):
    """Nothing is replaced where nothing is secret."""
    assert _url.masked(_url.parse(text)) == text


def test_what_a_driver_says_hides_the_secrets_of_the_url():
    """A driver may repeat a password by itself, and that within a connection string too."""
    url = _url.parse("mssql+pyodbc://me:word1@h/?odbc_connect=UID%3Dx%3BPWD%3Dword2&token=word3")
    told = _url.why_not(url, OSError(), "word1, word2 or word3 is wrong.")
    assert "cannot be opened: ***, *** or *** is wrong. Check that the server runs" in told


@pytest.mark.parametrize(
    ("module", "url", "advice"),
    [
        (
            "psycopg",
            "postgresql://me:s3cret@h/db",
            'Run: pip install "kerastune_optuna[postgresql]"',
        ),
        ("pymysql", "mysql://me:s3cret@h/db", 'Run: pip install "kerastune_optuna[mysql]"'),
        ("pymysql", "mariadb+pymysql://h/db", 'Run: pip install "kerastune_optuna[mysql]"'),
        ("psycopg2", "postgresql+psycopg2://me:s3cret@h/db", "Install the driver"),
    ],
)
def test_a_missing_driver_is_named(module, url, advice):
    """The error names the package that a URL needs and, where we have one, the extra with it."""
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from kerastune_optuna._exceptions import StorageError\n"
        "from kerastune_optuna._storage import database\n"
        "try:\n    database.connect(sys.argv[1])\n"
        "except StorageError as error:\n    print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True)
    (line,) = ran.stdout.splitlines() or [ran.stderr]
    assert f"{module} " in line.replace("'", " ")
    assert line.endswith(f". {advice}.")
    assert "s3cret" not in line
