"""Python processes for tests that start at once: forks of a server that has imported TensorFlow.

What an interpreter fixes when it starts is alike in all forks: how it hashes texts, which warnings
are errors, and the command line that `ps` shows. Where this matters, use subprocess.
"""

import atexit
import faulthandler
import functools
import gc
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What scripts and workers import, early or late; a driver or two may not be installed.
_IMPORTED = """
tensorflow keras optuna pandas scipy.stats kerastune_optuna._workers.processes alembic.command
alembic.migration sqlalchemy.dialects.sqlite sqlalchemy.dialects.postgresql psycopg pymysql
sqlalchemy.dialects.mysql optuna.storages._rdb.storage optuna.storages._grpc.client
tests.support.models tests.support.faults tests.support.untrained
""".split()
_CODE = "import sys; from tests.support import forks; forks.import_and_serve(int(sys.argv[1]))"
_FILES = ("stdin", "stdout", "stderr")
_LARGEST = 1 << 20  # bytes of a request
_requests = None  # the socket of this process's server


def start(args, **options):
    """Start a script as subprocess.Popen(args, **options) does, as a fork where it can be one."""
    backend = (options.get("env") or os.environ).get("KERAS_BACKEND", "tensorflow")
    # Other backends start threads when they are imported, which no fork has.
    can_fork = sys.platform == "linux" and backend == "tensorflow" and args[0] == sys.executable
    return (Fork if can_fork else subprocess.Popen)(args, **options)


def run(args, *, capture_output=False, check=False, **options):
    """Run a script to its end as subprocess.run() does."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(args, **options) as process:
        said = process.communicate()
    done = subprocess.CompletedProcess(args, process.returncode, *said)
    if check:
        done.check_returncode()
    return done


def let_workers_fork():
    """Have the workers that searches of this process start be forks, too."""
    from kerastune_optuna._workers import processes

    processes.subprocess = types.SimpleNamespace(Popen=start, PIPE=subprocess.PIPE)


class Fork:
    """A process with what tests use of subprocess.Popen; its parent is a server."""

    def __init__(self, args, *, cwd=None, env=None, text=False, start_new_session=False, **files):
        self.args, self.returncode = args, None
        ends = [_open(files.get(name), number, text) for number, name in enumerate(_FILES)]
        self.stdin, self.stdout, self.stderr = (ours for _, ours in ends)
        self._status, status = Pipe(duplex=False)
        line = [os.fsdecode(arg) for arg in args[1:]]
        request = line, cwd or os.getcwd(), dict(env or os.environ), start_new_session
        numbers = [*(number for number, _ in ends), status.fileno()]
        socket.send_fds(_server(), [pickle.dumps(request)], numbers)
        status.close()
        for number, _ in ends:
            os.close(number)
        self.pid = self._status.recv()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            for file in filter(None, (self.stdin, self.stdout, self.stderr)):
                file.close()
        finally:
            self.wait()

    def wait(self, timeout=None):
        """Wait for its end, and return its exit code."""
        if self.returncode is None:
            if not self._status.poll(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = self._status.recv()
        return self.returncode

    def poll(self):
        """Return its exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout=None):
        """Wait for its end, and return what it wrote."""
        if self.stdin:
            self.stdin.close()
        said = {}

        def read(pipe):
            with pipe:
                said[pipe] = pipe.read()

        pipes = filter(None, (self.stdout, self.stderr))
        readers = [threading.Thread(target=read, args=[pipe], daemon=True) for pipe in pipes]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
        self.wait(timeout)
        return said.get(self.stdout), said.get(self.stderr)

    def send_signal(self, number):
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended since
                os.kill(self.pid, number)

    terminate = functools.partialmethod(send_signal, signal.SIGTERM)

    def kill(self):  # Windows, which has no SIGKILL, imports this module too
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _open(given, number, is_text):
    """Return the number of a file for a fork, and our end where it is a pipe."""
    if given == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    if given != subprocess.PIPE:
        return os.dup(number if given is None else given.fileno()), None
    read, write = os.pipe()
    its, ours, mode = (read, write, "w") if number == 0 else (write, read, "r")
    return its, open(ours, mode if is_text else f"{mode}b")


def _server():
    """Return the socket of this process's server, which starts with the first fork."""
    global _requests
    if _requests is None:
        _requests, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-c", _CODE, str(its.fileno())]
        quiet = dict.fromkeys(_FILES, subprocess.DEVNULL)
        server = subprocess.Popen(command, cwd=ROOT, pass_fds=[its.fileno()], **quiet)
        its.close()
        atexit.register(server.wait)
        atexit.register(_requests.close)
    return _requests


def import_and_serve(descriptor):
    """Be the server of the process that started this one."""
    for name in _IMPORTED:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    importlib.import_module("sqlalchemy.orm").configure_mappers()
    let_workers_fork()
    gc.collect()
    gc.freeze()  # so that no collection of a fork copies what they share
    _serve(socket.socket(fileno=descriptor))


def _serve(requests):
    """Fork a process for each request, until the process that is served has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    while True:
        request, files, *_ = socket.recv_fds(requests, _LARGEST, 4)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            _keep(*pickle.loads(request), files[:3], Connection(files[3], readable=False))
        for file in files:
            os.close(file)


def _keep(args, cwd, env, leads, files, status):
    """Fork the process that is asked for, and tell how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (process := os.fork()) == 0:
        if leads:
            os.setsid()
        _be(args, cwd, env, files, status)
    for file in files:
        os.close(file)
    with suppress(BrokenPipeError):  # who asked has ended
        status.send(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    os._exit(0)


def _be(args, cwd, env, files, status):
    """Be the process that is asked for."""
    import numpy as np

    _have_a_server(files)
    status.send(os.getpid())
    status.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    tempfile.tempdir = None
    np.random.seed()
    sys.stdout.reconfigure(line_buffering=True)
    code = _run(args)
    # The end of Python, without the second that tearing TensorFlow down takes.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _have_a_server(files):
    """Fork a server of this process and its group before this process can no longer be forked."""
    global _requests
    _requests, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        _requests.close()
        for file in files:
            os.close(file)
        _serve(its)
    its.close()


def _run(args):
    """Run what the command line of Python asks for; return what an interpreter ends with."""
    if args[:3] == ["-P", "-X", "faulthandler"]:  # a worker, which sets its path itself
        faulthandler.enable()
        args = args[3:]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if args[0] == "-c":
        source, name, folder, sys.argv = args[1], "<string>", "", ["-c", *args[2:]]
    else:
        name, sys.argv = args[0], args
        source, folder, main.__file__ = Path(name).read_bytes(), str(Path(name).parent), name
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [folder, *given, *(path for path in sys.path[1:] if path not in given)]
    try:
        exec(compile(source, name, "exec", dont_inherit=True), vars(main))
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        traceback = error.__traceback__.tb_next  # without our frame
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0
