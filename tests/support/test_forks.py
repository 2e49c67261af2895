"""Forks are what a new interpreter is, to the test that starts them."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support import forks

# Prints what a process finds, and ends as it is told to.
SCRIPT = """
import json, os, random, signal, sys, tempfile, threading
import numpy as np
stop = {number.name: str(signal.getsignal(number)) for number in (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)}
chance = random.random(), np.random.random()
print(json.dumps({
    "argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "stdin": sys.stdin.read(),
    "leads": os.getsid(0) == os.getpgid(0) == os.getpid(), "stop": stop,
    "tmp": tempfile.gettempdir(), "name": __name__,
    "threads": threading.active_count(), "path": sys.path[:2], "own": [os.getpid(), *chance],
}))
exec(sys.argv[1])
"""
ENDS = {
    "well": ("pass", 0),
    "a code": ("sys.exit(3)", 3),
    "words": ("sys.exit('no')", 1),
    "an error": ("raise ValueError('no')", 1),
    "Ctrl-C": ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
    "a kill": ("sys.stdout.flush(); signal.raise_signal(signal.SIGKILL)", -signal.SIGKILL),
}


@pytest.fixture(autouse=True)
def takes_signals():
    """Let a new interpreter ignore neither Ctrl-C nor a hang-up, as nohup and & would make it."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.parametrize(("end", "is_file"), [*zip(ENDS, [True, False] * 3, strict=True)])
def test_a_fork_is_like_a_new_process(tmp_path, end, is_file):
    """It finds and says the same, ends by the same code, and has numbers of chance of its own."""
    (script := tmp_path / "script.py").write_text(SCRIPT)
    statement, code = ENDS[end]
    program = [str(script)] if is_file else ["-c", SCRIPT]
    wanted = {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    found, own = [], set()
    for start in (subprocess.Popen, forks.start, forks.start):
        with start(
            [sys.executable, *program, statement],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **wanted},
            start_new_session=True,
        ) as process:
            process.stdin.write("given")
            out, err = process.communicate()
        assert process.returncode == code, err
        said = json.loads(out)
        own.update(said.pop("own"))
        found.append((said, err))
    assert found[0] == found[1] == found[2]
    assert len(own) == 3 * 3
