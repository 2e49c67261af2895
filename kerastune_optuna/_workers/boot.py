"""The first steps of a worker process, before it imports the package, which takes seconds.

This file runs by its path, as a script, and imports only Python's own modules.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

if sys.platform == "win32":
    import msvcrt

if __name__ == "__main__":
    parent_id = os.getppid()  # now, since the parent may be gone after the imports
    # A terminal sends these signals to all processes, on Ctrl-C and when it is closed. The parent
    # tells its workers what to do.
    for name in {"SIGINT", "SIGHUP"} & set(dir(signal)):
        signal.signal(getattr(signal, name), signal.SIG_IGN)

    from multiprocessing.connection import Pipe

    # The connection with the parent is standard input, which gets empty: otherwise, processes that
    # the user starts would inherit the connection.
    handle = os.dup(0)
    if sys.platform == "win32":
        handle = msvcrt.get_osfhandle(handle)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    with (pipe := Pipe())[0], pipe[1]:
        with_parent = type(pipe[0])(handle)  # its class depends on the platform
    # Only the parent's sys.path may have this package. The current folder is last until the imports
    # are done, so that a file such as random.py there does not hide Python's own module. (A
    # notebook imports those modules before the current folder is on its path.)
    try:
        path: list[str] = with_parent.recv()
    except EOFError:  # the parent is gone
        sys.exit(1)
    sys.path[:] = sorted(path, key=lambda folder: folder == "")
    # Garbage collection during the imports would take a fifth of their time, and the imported
    # objects stay: freeze() excludes them from later collections.
    gc.disable()
    # TensorFlow's C++ code prints on standard error whatever TF_CPP_MIN_LOG_LEVEL says, and the
    # parent has printed the same.
    stderr = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        from kerastune_optuna._workers.processes import main

        with contextlib.suppress(ImportError):  # Keras imports it with any backend, to set its seed
            import tensorflow  # noqa: F401  # in the silence
    finally:
        os.dup2(stderr, 2)
    sys.path[:] = path
    gc.freeze()
    gc.enable()
    # The source of a function from a notebook is not on the disk. Python would ask the loader of
    # __main__ for it, and give AutoGraph lines of this file.
    __loader__ = None
    main(with_parent, parent_id)
