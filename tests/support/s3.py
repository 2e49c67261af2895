"""An S3 server of a test's own (moto's), which stumbles as a real one does when the test says so.

Run as a module it is the server.
"""

from __future__ import annotations

import itertools

from tests.support.buckets import BUCKET, Buckets, obey, running

REFUSED = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>\
</Error>"


class Stumbling:
    """Answer in place of moto where each nth request is refused, or a key has expired.

    Args:
        app: Moto's application.
    """

    def __init__(self, app):
        self.app = app
        self.requests = itertools.count(1)
        self.each = 0
        self.expired = None

    def __call__(self, environ, start_response):
        """Answer one request, of which the body is read as a client expects."""
        number = next(self.requests)
        if self.expired and f"Credential={self.expired}/" in environ["HTTP_AUTHORIZATION"]:
            return self._instead(environ, start_response, "400 Bad Request", EXPIRED)
        if self.each and number % self.each == 0:
            return self._instead(environ, start_response, "503 Slow Down", REFUSED)
        return self.app(environ, start_response)

    @staticmethod
    def _instead(environ, start_response, status, text):
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(status, [("Content-Type", "application/xml")])
        return [text]


def serve():
    """Serve until the orders end."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # in which a client waits for leave to send its body

        def log(self, *_):
            """Write no line for each request."""

    app = Stumbling(DomainDispatcherApplication(create_backend_app))

    def serving(listener):
        with listener:  # of which the server has a copy
            arguments = {"threaded": True, "request_handler": Quiet, "fd": listener.fileno()}
            return make_server(*listener.getsockname(), app, **arguments)

    obey(app, serving)


def opened(url, key="key", bucket=BUCKET, patience=5):
    """Return a store in a bucket of the server there, whose client does not try again itself."""
    import boto3
    import botocore.config
    import optuna

    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="test",
        config=botocore.config.Config(
            retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=patience
        ),
    )
    return optuna.artifacts.Boto3ArtifactStore(bucket, client)


class S3(Buckets):
    """Lead a server, and make stores in its bucket."""

    opened = staticmethod(opened)
    expiry = "An error occurred (ExpiredToken)"  # begins what a store says of a key that expired

    def make_bucket(self):
        """Make the bucket of all tests."""
        opened(self.url, patience=60).client.create_bucket(Bucket=BUCKET)

    def store(self):
        """Return a store in the bucket."""
        return opened(self.url)

    @property
    def keys(self):
        """The names of what is stored."""
        listed = self.store().client.list_objects_v2(Bucket=BUCKET)
        return {one["Key"] for one in listed.get("Contents", [])}


def s3_server():
    """Give a running server with an empty bucket."""
    return running("tests.support.s3", S3)


if __name__ == "__main__":
    serve()
