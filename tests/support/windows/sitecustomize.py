"""Take from our own code what Windows lacks: `PYTHONPATH=tests/support/windows python -m pytest`.

Our code is the package, the tests, and the scripts that tests run. It imports stand-ins of `os`,
`signal`, `sys` and `time`, which say that this is Windows, and have no other names than there. What
Python itself and other packages import stays whole. So, when our code asks for it,

- no file below /proc opens; psutil, which reads there, is let through,
- no file that this process has open or mapped can be deleted, renamed or replaced,
- no name has a character that Windows forbids, and no folder opens as a file does,
- nothing forks, `os.kill` fails, and a worker ends at once when its parent terminates it,
- the clocks go on by a 64th of a second.

This cannot show what backslashes, drives and code pages do, nor files that another process has
open, nor what the Python, the TensorFlow and the SQLite of Windows do.
"""

import builtins
import errno
import fcntl
import importlib
import math
import multiprocessing.context
import multiprocessing.reduction
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import types

_NO_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "termios", "tty"}
_NO_NAMES = {  # what Python 3.11 for Linux has and that for Windows has not, as mypy knows it
    "os": r"""
        (CLD|EFD|EX|F|GRND|MFD|POSIX|PRIO|RTLD|RWF|SCHED|SPLICE|ST|XATTR)_(?!OK$).* P_(ALL|P.*)
        O_(ACCMODE|N?DELAY|CLOEXEC|DIRECT.*|D?SYNC|F?SYNC|NOATIME|NOCTTY|NOFOLLOW|NONBLOCK|PATH)
        W[A-Z]+ SEEK_(DATA|HOLE) chroot confstr.* copy_file_range ctermid environb eventfd.* f?chown
        fchdir fchmod fdatasync fork(pty)? f?pathconf.* f?statvfs fwalk getenvb lchown lockf major
        (get|set)(e|re|res)?[ug]id (get|set)(blocking|groups|pgid|pgrp|priority|sid) getgrouplist
        getloadavg .*xattr initgroups killpg login_tty makedev memfd_create minor mkfifo mknod nice
        openpty pidfd_open pipe2 posix_.* p?(readv|writev) pread pwrite register_at_fork sched_.*
        sendfile spawn[lv]pe? splice sync sysconf.* tc[gs]etpgrp ttyname uname wait[34]? waitid.*
    """,
    "signal": r"""
        ITIMER_.* SIG_(BLOCK|SETMASK|UNBLOCK) (?!SIG(ABRT|FPE|ILL|INT|SEGV|TERM)$)SIG[A-Z]+\d?
        Sigmasks alarm [gs]etitimer pause pidfd_send_signal pthread_.* siginterrupt sigpending
        sig(timed)?wait(info)?
    """,
    "sys": "",
    "time": "CLOCK_.* clock_.* pthread_getcpuclockid tzset",
}
_TICK = 1 / 64
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_HANDLED = {getattr(signal, f"SIG{name}") for name in "ABRT FPE ILL INT SEGV TERM".split()}
_PYTHON, *_PACKAGES = (sysconfig.get_path(name) + "/" for name in ("stdlib", "purelib", "platlib"))


class _StandIn(types.ModuleType):
    """Be a module as it is on Windows; what is set on it is set on the module."""

    def __init__(self, name, /, **others):
        super().__init__(name)
        missing = re.compile("|".join(_NO_NAMES[name].split()))
        own = {"_module": sys.modules[name], "_missing": missing, "_others": others}
        for key, value in {**own, **others}.items():
            super().__setattr__(key, value)

    # Where pytest's monkeypatch looks for what to put back.
    __dict__ = property(lambda self: {**vars(self._module), **self._others})

    def __getattr__(self, name):
        if self._missing.fullmatch(name):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name)
        return getattr(self._module, name)

    def __setattr__(self, name, value):
        if name in self._others:
            super().__setattr__(name, value)
        else:
            setattr(self._module, name, value)

    def __delattr__(self, name):
        delattr(self._module, name)

    def __dir__(self):
        return [name for name in dir(self._module) if not self._missing.fullmatch(name)]

    def __reduce__(self):
        return importlib.import_module, (self.__name__,)


def _kill(pid, number):
    raise OSError(errno.EINVAL, f"Windows would end process {pid} at once")


def _signal(number, handler):
    if number not in _HANDLED:
        raise ValueError("invalid signal value")
    return signal.signal(number, handler)


def _locking(file, mode, _size):
    try:
        fcntl.flock(file, mode)
    except BlockingIOError as error:
        raise PermissionError(errno.EACCES, "Permission denied") from error


def _send_signal(process, number, send=subprocess.Popen.send_signal):
    if number != signal.SIGTERM and _is_ours(sys._getframe(1).f_globals):
        raise ValueError(f"Unsupported signal: {number}")
    send(process, signal.SIGKILL if number == signal.SIGTERM else number)


_ours = {
    "os": _StandIn("os", name="nt", kill=_kill),
    "signal": _StandIn("signal", signal=_signal),
    "sys": _StandIn("sys", platform="win32"),
    "time": _StandIn(
        "time",
        monotonic=lambda now=time.monotonic: math.floor(now() / _TICK) * _TICK,
        monotonic_ns=lambda now=time.monotonic: math.floor(now() / _TICK) * int(_TICK * 1e9),
        time=lambda now=time.time: math.floor(now() / _TICK) * _TICK,
    ),
    "msvcrt": types.ModuleType("msvcrt"),
}
vars(_ours["msvcrt"]).update(
    locking=_locking,
    LK_NBLCK=fcntl.LOCK_EX | fcntl.LOCK_NB,
    get_osfhandle=lambda number: number,  # files and handles are one here
    open_osfhandle=lambda handle, flags: handle,
)
multiprocessing.reduction.duplicate = os.dup

_STOOD_IN = {*_NO_MODULES, *_ours}


def _is_ours(names):
    """Whether a module, given by its names, is of our own code."""
    file, name = names.get("__file__"), names.get("__name__")
    if file is None:
        return name == "__main__"
    return name != "sitecustomize" and not file.startswith((_PYTHON, *_PACKAGES))


def _import(name, globals=None, *others, do=builtins.__import__, **named):  # noqa: A002
    if not globals or name.partition(".")[0] not in _STOOD_IN or not _is_ours(globals):
        return do(name, globals, *others, **named)
    if name in _NO_MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _ours.get(name) or do(name, globals, *others, **named)


def _asks():
    """Whether our code asks for what is about to happen, perhaps by means of Python's library."""
    frame = sys._getframe(3)  # beyond the hook
    while frame is not None:
        names = frame.f_globals
        file = names.get("__file__") or (None if names.get("__name__") == "__main__" else _PYTHON)
        if file is None or not file.startswith(_PYTHON) or file.startswith(tuple(_PACKAGES)):
            return _is_ours(names)
        frame = frame.f_back
    return False


def _check_open(path, mode, _):
    if isinstance(path, int):
        return
    path = os.fsdecode(path)
    is_folder = mode is None and os.path.isdir(path)
    odd = (path.startswith("/proc/"), errno.ENOENT), (_FORBIDDEN.search(path), errno.EINVAL)
    for is_so, number in (*odd, (is_folder, errno.EACCES)):
        if is_so and _asks():
            raise OSError(number, os.strerror(number), path)


def _check_list(path=".", *_):
    if not isinstance(path, int) and os.fsdecode(path).startswith("/proc/") and _asks():
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)


def _check_change(*paths):
    caller = sys._getframe(2)
    if (caller.f_globals["__name__"], caller.f_code.co_name) == ("tempfile", "opener"):
        return  # TemporaryFile, which has another way there
    paths = [os.path.realpath(path) for path in paths if not isinstance(path, int)]
    if _asks() and (used := _in_use().intersection(paths)):
        raise PermissionError(errno.EACCES, "Permission denied", *used)


def _in_use():
    """Return the paths of the files that this process has open or has mapped."""
    with open("/proc/self/maps") as maps:
        found = {line.rstrip().partition("/")[2] for line in maps}
    found = {f"/{path}" for path in found if path}
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # of the list itself
            continue
    return found


_CHECKS = {"open": _check_open, "os.mkdir": _check_open}
_CHECKS |= {"os.listdir": _check_list, "os.scandir": _check_list}
_CHECKS |= {"os.remove": _check_change, "os.rename": _check_change}


def _check(event, arguments):
    if event in _CHECKS:
        _CHECKS[event](*arguments)


def _take_away():
    builtins.__import__ = _import
    subprocess.Popen.send_signal = _send_signal
    shutil._use_fd_functions = False  # shutil gives whole paths then, as on Windows
    for name in ("fork", "forkserver"):
        multiprocessing.context._concrete_contexts.pop(name)
    spawning = multiprocessing.context._concrete_contexts["spawn"]
    multiprocessing.context._default_context._default_context = spawning
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:  # as for pip
        pass
    else:
        psutil.LINUX = False
    sys.addaudithook(_check)


_take_away()
