"""The dashboard: optuna-dashboard on this machine's own address, until it is stopped."""

from __future__ import annotations

import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._storage import StoreSource, artifacts, database
from kerastune_optuna._study import Home

_HOST = "127.0.0.1"  # the dashboard asks for no password: nobody else may reach it


class Dashboard:
    """Serve a study to browsers on this machine, until it is stopped.

    Args:
        server: The server of its pages, bound to an address that was free.
        study_id: The study that is shown first.

    Attributes:
        url: Where the study's page is.

    Example:
        >>> import keras, tempfile, urllib.request
        >>> from kerastune_optuna import OptunaTuner
        >>> tuner = OptunaTuner(lambda trial: keras.Sequential(), directory=tempfile.mkdtemp())
        >>> with tuner.dashboard() as dashboard:
        ...     urllib.request.urlopen(dashboard.url).status
        200
    """

    def __init__(self, server: WSGIServer, study_id: int) -> None:
        self.url = f"http://{_HOST}:{server.server_port}/dashboard/studies/{study_id}"
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the address; do nothing where it is closed already."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self) -> None:
        """Serve until stop() or Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(1)  # with a limit: on Windows Ctrl-C ends no wait without one

    def __enter__(self) -> Dashboard:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Dashboard at {self.url} until stop()>"


class _Server(ThreadingMixIn, WSGIServer):
    """Answer each request in a thread: a page asks for many things at once."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Answer without a line on the terminal."""

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


def serve(
    storage: BaseStorage, name: str, store: StoreSource | None, port: int | None
) -> Dashboard:
    """Start the dashboard of a storage.

    Args:
        storage: The storage.
        name: The study that is shown first.
        store: Where its artifacts are; None where that is not known.
        port: Where to listen; None for a port that is free.

    Raises:
        ArgumentError: The port is not a port number, or is taken.
        MissingExtraError: optuna-dashboard is not installed.
    """
    if port is not None:
        _check.integer("port", port, least=1, instead="Pass None for a port that is free.")
    _check.installed("optuna_dashboard", extra="dashboard")
    import optuna_dashboard

    opened = None if store is None else artifacts.open_store(store)
    application = optuna_dashboard.wsgi(storage, artifact_store=opened)
    try:
        server = make_server(_HOST, port or 0, application, _Server, _Handler)
    except (OSError, OverflowError) as error:
        raise ArgumentError(
            f"port={port} cannot be used: {error}. Pass another, or None for one that is free."
        ) from error
    return Dashboard(server, storage.get_study_id_from_name(name))


def show(home: Home, port: int | None) -> Dashboard:
    """Serve the study of a tuner, which is there.

    Raises:
        ArgumentError: The port cannot be used, or no other thread can read the storage.
        MissingExtraError: optuna-dashboard is not installed.
    """
    if database.is_of_one_thread(home.storage):
        raise ArgumentError(
            "storage= is SQLite in memory, which a page in another thread cannot read. Pass a "
            "file, storage=None, or optuna.storages.InMemoryStorage()."
        )
    # Connected without a search's patience: a page need not wait for a database that is away.
    return serve(database.connect(home.storage_source), home.name, home.store, port)
