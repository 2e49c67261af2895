"""URLs of databases are shown without what is secret in them, and name the driver they lack."""

import os
import subprocess
import sys

import psutil
import pytest
import sqlalchemy

from kerastune_optuna import StorageError
from kerastune_optuna._storage import url as _url
from kerastune_optuna._storage.database import connect, parse
from kerastune_optuna._storage.patience import reason
from tests.support import searching
from tests.support.faults import ROOT, processes_in, wait_for_epochs
from tests.support.servers import database

HIDING = [
    ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
    ("postgresql://me:my s3cret@host/db", "postgresql://me:***@host/db"),
    ("postgresql://:s3cret@[::1]:5/db", "postgresql://:***@[::1]:5/db"),
    ("postgresql://host/db?password=s3cret&password=s3cret2", "password=***&password=***"),
    ("postgresql://host/db?dsn=user%3Dme%20password%3Ds3cret", "user%3Dme+password%3D***"),
    ("oracle://host/db?wallet_password=s3cret", "?wallet_password=***"),
    ("mssql://host/db?token=s3cret&timeout=3", "?timeout=3&token=***"),
    ("mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D%7Bs3+cret%7D", "?odbc_connect=***"),
    ("sqlite:////home/me/study.db", "sqlite:////home/me/study.db"),
    ("postgresql://me@host:5/db?connect_timeout=3", "postgresql://me@host:5/db?connect_timeout=3"),
]


@pytest.mark.parametrize(("text", "shown"), HIDING)
def test_a_url_is_shown_without_its_secrets(text, shown):
    """A password, a token or the connection string of ODBC is replaced, and the rest is shown."""
    masked = _url.masked(parse(text))
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


def test_what_a_driver_says_hides_the_secrets_of_the_url():
    """A driver may repeat a password by itself, and that within a connection string too."""
    url = parse("mssql+pyodbc://me:word1@h/?odbc_connect=UID%3Dx%3BPWD%3Dword2&token=word3")
    told = _url.why_not(url, OSError(), "word1, word2 or word3 is wrong.")
    assert "cannot be opened: ***, *** or *** is wrong. Check that the server runs" in told


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [
        ("psycopg", "postgresql://me:s3cret@h/db", "[postgresql]"),
        ("pymysql", "mysql://me:s3cret@h/db", "[mysql]"),
        ("pymysql", "mariadb+pymysql://h/db", "[mysql]"),
        ("psycopg2", "postgresql+psycopg2://me:s3cret@h/db", ""),
    ],
)
def test_a_missing_driver_is_named(monkeypatch, module, url, extra):
    """The error names the package that a URL needs and, where we have one, the extra with it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError) as got:
        connect(url)
    (line,) = str(got.value).splitlines()
    assert f"{module} " in line.replace("'", " ")
    advice = f'Run: pip install "kerastune_optuna{extra}"' if extra else "Install the driver"
    assert line.endswith(f". {advice}.")
    assert "s3cret" not in line


@pytest.mark.slow
def test_the_password_is_nowhere(tmp_path):
    """No file, no output, no process list and no table holds the password of the database."""
    password, role = "s3cret-Pa55word", f"role_{os.getpid()}"
    with database("postgresql") as url:
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")

        def execute(statement):
            with engine.connect() as connection:
                result = connection.exec_driver_sql(statement)
                return result.all() if result.returns_rows else []

        execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'")
        try:
            given = sqlalchemy.make_url(url).set(username=role, password=password)
            (tmp_path / "slow").touch()
            command = [sys.executable, searching.__file__, str(tmp_path), "2", "-", "3"]
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            search = subprocess.Popen(command, env=env, stderr=subprocess.STDOUT, **pipes)
            search.stdin.write(given.render_as_string(hide_password=False) + "\n")
            search.stdin.close()
            wait_for_epochs(tmp_path, 2)
            processes = map(psutil.Process, [search.pid, *processes_in(tmp_path / "log")])
            shown = [" ".join(one.cmdline()) + str(one.environ()) for one in processes]
            # Which costs the search its connections.
            others = f"FROM pg_stat_activity WHERE usename = '{role}'"
            execute(f"SELECT pg_terminate_backend(pid) {others}")
            (tmp_path / "slow").unlink()
            shown.append(search.stdout.read())
            search.stdout.close()
            assert search.wait() == 0, shown[-1]
            for (table,) in execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
                shown += map(str, execute(f"SELECT * FROM {table}"))
        finally:
            execute(f"REASSIGN OWNED BY {role} TO postgres")
            execute(f"DROP OWNED BY {role}")
            execute(f"DROP ROLE {role}")
            engine.dispose()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(shown) > 10
    assert files
    assert not any(password in text for text in shown)
    assert not any(password.encode() in path.read_bytes() for path in files)
