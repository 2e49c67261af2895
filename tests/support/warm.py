"""Python processes for tests that start at once: forks of one that has imported everything.

To import TensorFlow, Keras and Optuna takes longer than most scripts of a test. A server, one for
each process of pytest, does so once and forks a child for each script.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import functools
import gc
import importlib
import inspect
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What scripts and workers import, early or late; a driver or two may not be installed.
_IMPORTED = """
tensorflow keras optuna pandas scipy.stats kerastune_optuna alembic.command alembic.migration
sqlalchemy.dialects.sqlite sqlalchemy.dialects.postgresql sqlalchemy.dialects.mysql psycopg pymysql
optuna.storages._rdb.storage optuna.storages._grpc.client
tests.support.models tests.support.faults tests.support.untrained
""".split()
_CODE = "import sys; from tests.support import warm; warm.serve_from_the_start(int(sys.argv[1]))"
_BACKENDS = (None, "tensorflow")  # others start threads when they are imported
_SET_CHILD_SUBREAPER = 36  # of prctl()
_IGNORED = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # it ends with the process it serves


class Popen(subprocess.Popen):
    """Start a script as subprocess.Popen does, but from a process that has imported everything.

    The script is a child of this process, with a `__main__`, random numbers, signal handlers,
    files and settings of its own. What cannot differ from one script to the next is what an
    interpreter fixes when it starts: hashes of strings, and the command line that `ps` shows.
    """

    def _execute_child(self, *given):
        asked = inspect.signature(super()._execute_child).bind(*given).arguments
        server, args, env = _server(), asked["args"], asked["env"] or os.environ
        if server is None or args[0] != sys.executable or env.get("KERAS_BACKEND") not in _BACKENDS:
            super()._execute_child(*given)
            return
        files = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        request = {
            "args": [os.fsdecode(arg) for arg in args[1:]],
            "env": dict(env),
            "cwd": os.fsdecode(asked["cwd"] or os.getcwd()),
            "umask": _umask(),
            "cores": list(os.sched_getaffinity(0)),
            "leads": asked["start_new_session"],
        }
        files = [number if file == -1 else file for number, file in enumerate(files)]
        self.pid = server.start(request, files)
        self._child_created = True
        names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[name] for name in names))


def run(args, *, input=None, capture_output=False, check=False, **options):  # noqa: A002
    """Run a script to its end as subprocess.run() does."""
    if input is not None:
        options |= {"stdin": subprocess.PIPE}
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(args, **options) as process:
        done = subprocess.CompletedProcess(args, None, *process.communicate(input))
    done.returncode = process.returncode
    if check:
        done.check_returncode()
    return done


def _umask():
    """Return this process's umask, which only the kernel's list of it tells without a change."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)


class _Server:
    """Ask a server for processes, and adopt them.

    Args:
        requests: Our end of its socket.
    """

    def __init__(self, requests):
        self._requests = requests
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def serves(self):
        """Whether this is the process that it serves, and no fork of it."""
        return os.getpid() == self._owner

    def start(self, request, files):
        """Return the number of a new child of this process."""
        body = json.dumps(request).encode()
        with self._lock, _adopting():
            socket.send_fds(self._requests, [len(body).to_bytes(8, "big")], files)
            self._requests.sendall(body)
            return int.from_bytes(_read(self._requests, 8), "big")


@contextlib.contextmanager
def _adopting():
    """Become the parent of processes below this one whose own parent ends meanwhile."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(_SET_CHILD_SUBREAPER, 0)


def _read(requests, size):
    return requests.recv(size, socket.MSG_WAITALL)


_own = None  # the server of a process that a server started


def _server():
    """Return the server of this process, which starts with the first process that it is asked for.

    Forks of this process have none, nor has a system without what makes a grandchild a child.
    """
    if sys.platform != "linux":
        return None
    server = _own or _first_server()
    return server if server.serves() else None


@functools.cache
def _first_server():
    ours, its = socket.socketpair()
    with its:
        # A process that this one does not wait for: the server ends with our end of the socket.
        server = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(its.fileno())],
            cwd=ROOT,
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    atexit.register(_end, ours, server)
    return _Server(ours)


def _end(ours, server):
    ours.close()
    server.wait()


def let_workers_start_warm():
    """Have the workers that searches of this process start be forks, too."""
    from kerastune_optuna._workers import processes

    processes.subprocess = types.SimpleNamespace(Popen=Popen, PIPE=subprocess.PIPE)


def serve_from_the_start(descriptor):
    """Be the server of the process that started this one."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for name in _IMPORTED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    importlib.import_module("sqlalchemy.orm").configure_mappers()
    let_workers_start_warm()
    gc.collect()
    gc.freeze()  # so that no collection of a child copies what they share
    _serve(socket.socket(fileno=descriptor))


def _serve(requests):
    """Fork a process for each request, until the one that asks is gone."""
    while header := socket.recv_fds(requests, 8, 3):
        size, files, *_ = header
        if not size:
            os._exit(0)
        request = json.loads(_read(requests, int.from_bytes(size, "big")))
        requests.sendall(_fork_orphan(request, files, requests).to_bytes(8, "big"))
        for file in files:
            os.close(file)


def _fork_orphan(request, files, requests):
    """Return the number of a new process whose parent has ended: who asked for it adopts it."""
    told, tell = os.pipe()
    if (between := _fork()) == 0:
        if _fork() == 0:
            os.close(told)
            requests.close()
            _be(request, files, tell)
        os._exit(0)
    os.close(tell)
    os.waitpid(between, 0)
    number = os.read(told, 8)
    os.close(told)
    return int.from_bytes(number, "big")


def _fork():
    """Fork a process whose other threads are those of libraries that expect it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _be(request, files, tell):
    """Be the process that was asked for."""
    if request["leads"]:
        os.setsid()
    os.write(tell, os.getpid().to_bytes(8, "big"))
    os.close(tell)
    _have_a_server(files)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _settle(request)
    _leave(_run_program(request["args"], request["env"]))


def _have_a_server(files):
    """Fork the server of this process, before it does what cannot be forked."""
    global _own
    ours, its = socket.socketpair()
    if _fork() == 0:
        ours.close()
        for file in files:
            os.close(file)
        _serve(its)
    its.close()
    _own = _Server(ours)


def _settle(request):
    """Take over the surroundings of the process that asked, and random numbers of our own."""
    import numpy as np

    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.sched_setaffinity(0, request["cores"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    tempfile.tempdir = None
    random.seed()
    np.random.seed()


def _run_program(args, env):
    """Run what the command line of Python asks for; return the exit code."""
    options = []
    while args[0] in ("-u", "-P", "-X"):
        options += args[: 1 + (args[0] == "-X")]
        args = args[1 + (args[0] == "-X") :]
    if "-X" in options:  # the one of them that workers have
        faulthandler.enable()
    _open_stdout(is_buffered="-u" not in options and not env.get("PYTHONUNBUFFERED"))
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if args[0] == "-c":
        source, name, folder, sys.argv = args[1], "<string>", "", ["-c", *args[2:]]
    else:
        name, sys.argv = args[0], args
        source, folder, main.__file__ = Path(name).read_bytes(), str(Path(name).parent), name
    _find_modules([] if "-P" in options else [folder], env)
    return _exit_code(lambda: exec(compile(source, name, "exec", dont_inherit=True), vars(main)))


def _open_stdout(is_buffered):
    """Let what is printed arrive when it would from a new interpreter."""
    raw = open(1, "wb", -1 if is_buffered else 0, closefd=False)  # noqa: SIM115 - stays open
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(
        raw,
        sys.stdout.encoding,
        sys.stdout.errors,
        line_buffering=raw.isatty(),
        write_through=not is_buffered,
    )


def _find_modules(own, env):
    """Set the path as a new interpreter does, and run the user's customization."""
    given = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*own, *given, *(path for path in sys.path[1:] if path not in given)]
    sys.modules.pop("sitecustomize", None)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("sitecustomize")


def _exit_code(program):
    """Run a program; return what a new interpreter would end with after it."""
    try:
        program()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        # Without our own three frames.
        traceback = error.__traceback__.tb_next.tb_next
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _leave(code):
    """End as Python does, without the second that tearing TensorFlow down takes."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
