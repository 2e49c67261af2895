"""Databases of real servers, one for each test that asks.

`KERASTUNE_POSTGRESQL` and `KERASTUNE_MARIADB` may hold the URL of a server, with its password; its
user may create databases. A server that they name has to answer. Without them the tests look for
one on this machine that asks for no password, and are skipped where there is none.
"""

import os
import socket
import subprocess
import sys
import uuid
from contextlib import contextmanager

import pytest
import sqlalchemy

from tests.support import forks

_VARIABLES = {"postgresql": "KERASTUNE_POSTGRESQL", "mariadb": "KERASTUNE_MARIADB"}
_HERE = {
    "postgresql": "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    "mariadb": "mysql+pymysql://root@127.0.0.1:3306/test",
}
SERVERS = {name: os.environ.get(_VARIABLES[name]) or url for name, url in _HERE.items()}

PROXY = """
import sys
import optuna
from optuna.storages.journal import JournalFileBackend
is_url = "://" in sys.argv[1]
given = sys.argv[1] if is_url else optuna.storages.JournalStorage(JournalFileBackend(sys.argv[1]))
storage = optuna.storages.get_storage(given)
print("serving", flush=True)
optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port=int(sys.argv[2]))
"""


@contextmanager
def free_port():
    """Give a port that no other process is given meanwhile, and on which a server may listen."""
    with socket.socket() as holder:
        # A socket that does not listen lets another one do so where both were told to share.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):  # Windows has none
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def database(server):
    """Give the URL of a new, empty database, which is dropped in the end."""
    url = sqlalchemy.make_url(SERVERS[server])
    name = f"kerastune_{uuid.uuid4().hex[:12]}"
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    except sqlalchemy.exc.OperationalError:
        if os.environ.get(_VARIABLES[server]):
            raise
        pytest.skip(f"no {server} server answers: start one, or name it in {_VARIABLES[server]}")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            force = " WITH (FORCE)" if server == "postgresql" else ""
            connection.exec_driver_sql(f"DROP DATABASE {name}{force}")
        engine.dispose()


@contextmanager
def proxy(url):
    """Give the port of Optuna's gRPC server in front of a URL, or of the path of a journal."""
    files = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", PROXY, url]
    with free_port() as port, forks.start([*command, str(port)], **files) as server:
        try:
            assert server.stdout.readline() == b"serving\n"
            yield port
        finally:
            server.kill()
