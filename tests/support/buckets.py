"""What tests of stores need of any server of buckets: it obeys orders, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

BUCKET = "weights"


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


def obey(app, serving):
    """Start, stop and stumble as standard input says, a line an order, until it ends.

    Args:
        app: What has the stored files. Each `each`th of its requests is refused, and those with the
            key `expired`.
        serving: Returns a server for a socket that listens.
    """
    port, server = 0, None
    for line in sys.stdin:
        order, *values = line.split()
        if order == "start" and server is None:
            listener = listening_at(port)
            port = listener.getsockname()[1]
            server = serving(listener)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        elif order == "stop" and server is not None:
            server.shutdown()
            server.server_close()
            server = None
        elif order == "refuse":
            app.each = int(values[0])
        elif order == "expire":
            app.expired = values[0]
        print(port, flush=True)  # which says that it is done


class Buckets:
    """Lead a server; who inherits makes the bucket, opens stores in it and lists their keys.

    Args:
        process: The server.
    """

    def __init__(self, process):
        self._process = process
        self._one_at_a_time = threading.Lock()
        self._soon = []
        self.url = f"http://127.0.0.1:{self.order('start')}"
        self.make_bucket()

    def order(self, line):
        """Give an order, like "stop", "start", "refuse 5" or "expire key"; return the port."""
        with self._one_at_a_time:
            print(line, file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())

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


@contextmanager
def running(module, kind):
    """Give a running server of a module, with an empty bucket, and of its kind."""
    command = [sys.executable, "-m", module]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        yield kind(process)
        process.stdin.close()  # the orders have ended
        process.wait()
