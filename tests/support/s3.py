"""An S3 server of a test's own (moto's), which stumbles as a real one does when the test says so.

Run as a module it is the server: it starts, stops and stumbles as standard input says.
"""

import itertools
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

BUCKET = "weights"
EXPIRY = "An error occurred (ExpiredToken)"  # begins what a store says of a key that expired
_REFUSED = b"<Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"
_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"


class Stumbling:
    """Answer in place of moto's application where each nth request is refused, or a key expired."""

    each, expired = 0, None

    def __init__(self, app):
        self.app, self.requests = app, itertools.count(1)

    def __call__(self, environ, start_response):
        """Answer one request, of which the body is read as a client expects."""
        number = next(self.requests)
        if self.expired and f"Credential={self.expired}/" in environ["HTTP_AUTHORIZATION"]:
            return self._instead(environ, start_response, "400 Bad Request", _EXPIRED)
        if self.each and number % self.each == 0:
            return self._instead(environ, start_response, "503 Slow Down", _REFUSED)
        return self.app(environ, start_response)

    @staticmethod
    def _instead(environ, start_response, status, text):
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(status, [("Content-Type", "application/xml")])
        return [text]


def listening_at(port):
    """Return a socket that listens at a port, once its last connections are over."""
    until = time.monotonic() + 10
    while True:
        try:
            return socket.create_server(("127.0.0.1", port), backlog=128)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def serve():
    """Serve until the orders end, which come a line each; the port is told when one is done."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # in which a client waits for leave to send its body

        def log(self, *_):
            """Write no line for each request."""

    app = Stumbling(DomainDispatcherApplication(create_backend_app))
    port, server = 0, None
    for line in sys.stdin:
        order, *values = line.split()
        if order == "start" and server is None:
            with listening_at(port) as listener:  # of which the server has a copy
                port = listener.getsockname()[1]
                arguments = {"threaded": True, "request_handler": Quiet, "fd": listener.fileno()}
                server = make_server("127.0.0.1", port, app, **arguments)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        elif order == "stop" and server is not None:
            server.shutdown()
            server.server_close()
            server = None
        elif order == "refuse":
            app.each = int(values[0])
        elif order == "expire":
            app.expired = values[0]
        print(port, flush=True)


def opened(url, key="key", bucket=BUCKET, patience=5, attempts=1):
    """Return a store in a bucket of the server there, whose client tries so often itself."""
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
            retries={"total_max_attempts": attempts}, connect_timeout=2, read_timeout=patience
        ),
    )
    return optuna.artifacts.Boto3ArtifactStore(bucket, client)


class S3:
    """Lead a process that is a server with a bucket, and make stores in it."""

    def __init__(self, process):
        self.process, self._soon, self._one_at_a_time = process, [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.order('start')}"
        opened(self.url, patience=60).client.create_bucket(Bucket=BUCKET)

    def order(self, line):
        """Give an order, like "stop", "start", "refuse 5" or "expire key"; return the port."""
        with self._one_at_a_time:
            print(line, file=self.process.stdin, flush=True)
            return int(self.process.stdout.readline())

    def order_soon(self, line, seconds=1.5):
        """Give an order in a while."""
        self._soon.append(threading.Timer(seconds, self.order, [line]))
        self._soon[-1].start()

    def recover(self):
        """Run, refuse nothing, and empty the bucket."""
        for timer in self._soon:
            timer.cancel()
            timer.join()
        for order in ("start", "refuse 0", "expire nobody's"):
            self.order(order)
        for key in self.keys:
            self.store().remove(key)

    def store(self):
        """Return a store in the bucket."""
        return opened(self.url)

    @property
    def keys(self):
        """The names of what is stored."""
        listed = self.store().client.list_objects_v2(Bucket=BUCKET)
        return {one["Key"] for one in listed.get("Contents", [])}


@contextmanager
def s3_server():
    """Give a running server with an empty bucket."""
    command = [sys.executable, "-m", "tests.support.s3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        yield S3(process)


if __name__ == "__main__":
    serve()
