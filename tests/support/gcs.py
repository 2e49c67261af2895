"""A server of Google's storage of a test's own (gcp-storage-emulator), which a test may stop.

Run as a module it is the server.
"""

from __future__ import annotations

import datetime
import itertools
import warnings
from functools import partial
from http import HTTPStatus
from types import SimpleNamespace

from tests.support.buckets import BUCKET, Buckets, obey, running


def serve():
    """Serve until the orders end."""
    from http.server import ThreadingHTTPServer

    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    app = SimpleNamespace(storage=Storage(use_memory_fs=True), each=0, expired=None)
    requests = itertools.count(1)

    class Stumbling(RequestHandler):
        def parse_request(self):
            """Answer in place of the emulator where a request is refused, or its key expired."""
            if not super().parse_request():
                return False
            key = (self.headers["Authorization"] or "").removeprefix("Bearer ")
            is_refused = app.each and next(requests) % app.each == 0
            if key == app.expired or is_refused:
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.send_error(
                    HTTPStatus.UNAUTHORIZED if key == app.expired else HTTPStatus.TOO_MANY_REQUESTS
                )
                return False
            return True

        def log_message(self, *_):
            """Write no line for each request."""

    def serving(listener):
        server = ThreadingHTTPServer(
            listener.getsockname(), partial(Stumbling, app.storage), bind_and_activate=False
        )
        server.socket.close()
        server.socket = listener
        return server

    obey(app, serving)


def opened(url, key="key", bucket=BUCKET):
    """Return a store in a bucket of the server there."""
    import google.cloud.storage
    import google.oauth2.credentials
    import optuna

    def renew(*_, **__):
        return key, datetime.datetime.now() + datetime.timedelta(hours=1)

    client = google.cloud.storage.Client(
        project="test",
        credentials=google.oauth2.credentials.Credentials(key, refresh_handler=renew),
        client_options={"api_endpoint": url},
    )
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        return optuna.artifacts.GCSArtifactStore(bucket, client)


class GCS(Buckets):
    """Lead a server, and make stores in its bucket."""

    opened = staticmethod(opened)
    expiry = "401 POST"  # begins what a store says of a key that expired

    def make_bucket(self):
        """Make the bucket of all tests."""
        self.store().client.create_bucket(BUCKET)

    def store(self):
        """Return a store in the bucket."""
        return opened(self.url)

    @property
    def keys(self):
        """The names of what is stored."""
        return {blob.name for blob in self.store().client.list_blobs(BUCKET)}


def gcs_server():
    """Give a running server with an empty bucket."""
    return running("tests.support.gcs", GCS)


if __name__ == "__main__":
    serve()
