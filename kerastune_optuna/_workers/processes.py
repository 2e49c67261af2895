"""Worker processes on this machine: start, watch, replace and stop them."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import reduction
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NoReturn

import cloudpickle
import optuna

from kerastune_optuna import _signals
from kerastune_optuna._exceptions import WorkerError
from kerastune_optuna._search import Budget
from kerastune_optuna._study import StudyRecord, Watch
from kerastune_optuna._workers import compiled
from kerastune_optuna._workers.devices import environment, usable_gpus
from kerastune_optuna._workers.loop import Payload, shown_once, work_on

if sys.platform == "win32":
    import msvcrt

_BOOT = Path(__file__).with_name("boot.py")  # the script that a worker process runs
_POLL = 0.5  # seconds between two looks at the study, or at the parent's process id
_LOOK = 0.02  # seconds between two looks at workers that end
_PATIENCE = 5  # seconds that a worker has to end after it was asked to, or after saving its trial
_WORD = 3  # seconds that a worker, after a signal, waits for the parent's word that it was meant
_LONGEST = 600  # seconds after which a worker is killed even if it is still saving its trial
_LINGER = 30  # seconds that the user's threads and exit functions have once a worker is done
# The exit code of a worker that is done. It is not 0, since any sys.exit() in a builder gives 0.
_DONE = 214
# TensorFlow's C++ code prints only warnings and errors. Python does not buffer its output, which
# would be lost if the worker was killed.
_QUIET, _UNBUFFERED = {"TF_CPP_MIN_LOG_LEVEL": "1"}, {"PYTHONUNBUFFERED": "1"}
# The first words of what a worker sends; the parent sends the job, and perhaps a word to stop.
_READY, _SAVING, _ERROR = "ready", "saving", "error"


@dataclass
class LocalWorkers:
    """Run a search in processes on this machine, so that one that dies does not end the others.

    Args:
        study: The study that is searched.
        budget: Replaces the trial of a process that died, and says how many processes may die in a
            row, without a COMPLETE or PRUNED trial between them.
        payload: The pickled Job.
        n_workers: How many processes run at a time.
    """

    study: optuna.Study
    budget: Budget
    payload: bytes
    n_workers: int
    _watch: Watch = field(default_factory=Watch)
    _gpus: list[str] = field(default_factory=partial(usable_gpus, os.environ))
    _deaths: int = 0
    _finished_at_death: int = 0

    def run(self, tick: Callable[[], None]) -> None:
        """Start the workers and wait for all of them, calling `tick` now and then.

        Raises:
            WorkerError: Too many processes died in a row.
            Exception: What a worker raised, with its traceback as a note.
        """
        self.budget.reap(self.study, self._watch)
        crew: dict[int, _Worker] = {}
        try:
            for number in range(self.n_workers):
                crew[number] = self._start(number)
            while crew and not _signals.requested():
                _hear(list(crew.values()), _POLL)
                tick()
                for number in [one for one in crew if not crew[one].is_running()]:
                    worker = crew.pop(number)
                    if worker.died():
                        self._mourn(worker)
                        crew[number] = self._start(number)
        finally:
            _stop(list(crew.values()))

    def _start(self, number: int) -> _Worker:
        """Start the worker with a number, by which it and those that replace it have devices."""
        own = environment(number, self.n_workers, os.environ, self._gpus)
        return _Worker(self.payload, own | compiled.environment())

    def _mourn(self, worker: _Worker) -> None:
        """Print that a worker died; raise if too many died in a row."""
        done = len(StudyRecord(self.study).finished)
        self._deaths = self._deaths + 1 if done == self._finished_at_death else 1
        self._finished_at_death = done
        self.budget.reap(self.study, self._watch)
        if self._deaths >= self.budget.conditions.most_failures:
            raise WorkerError(
                f"{self._deaths} workers died one after another, the last one {worker.how()}. "
                "See its output above; search(n_workers=1) runs in this process."
            )
        died = f"A worker (process {worker.pid}) died {worker.how()}; another takes its place"
        _signals.print_line(died)


class _Worker:
    """Run one worker process, from its start to its end.

    Args:
        payload: The pickled Job.
        own: Environment variables that this worker has besides those of this process.
    """

    def __init__(self, payload: bytes, own: dict[str, str]) -> None:
        self._payload = payload
        self._connection, its = Pipe()
        # With -P, a file such as random.py in its folder does not hide Python's own module.
        with its, _as_file(its) as stdin:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", str(_BOOT)],
                stdin=stdin,
                env=_QUIET | os.environ | _UNBUFFERED | own,
            )
        self.pid = self._process.pid
        self._is_ready = self._is_saving = False
        self._error: tuple[bytes, str] | None = None
        self._send(sys.path)

    def _send(self, message: object) -> None:
        with suppress(OSError):  # the process died, which its exit code tells us
            self._connection.send(message)

    def hear(self) -> None:
        """Take in what the process has said; its end of the connection is open while it lives."""
        try:
            while not self._connection.closed and self._connection.poll():
                word, value = self._connection.recv()
                if word == _READY:  # a large job would fill the connection before that
                    self._is_ready = True
                    self._connection.send_bytes(self._payload)
                elif word == _SAVING:
                    self._is_saving = value
                else:
                    self._error = value
        except (EOFError, OSError):
            self.kill()

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def is_running(self) -> bool:
        """Whether the process still runs; if not, raise the error that it raised, if any."""
        if not self.has_ended():
            return True
        self.hear()  # its last word
        self.kill()
        if self._error is not None:
            raise _raised(*self._error, self.pid)
        return False

    def died(self) -> bool:
        """Whether the process ended without being done."""
        return self._process.returncode != _DONE

    def how(self) -> str:
        """Return how the process ended, in words."""
        code = self._process.returncode
        by_sigterm = code == 128 + signal.SIGTERM  # the code after it has saved what it could
        number = signal.SIGTERM if by_sigterm else -code
        return f"by {signal.Signals(number).name}" if number > 0 else f"with exit code {code}"

    def ask_to_stop(self) -> None:
        """Ask the process to stop; one that has no job yet is killed."""
        if self._is_ready:
            self._send("stop")
        else:
            self._process.kill()

    def is_saving(self) -> bool:
        """Whether the process is alive and saving what it trained."""
        return self._is_saving and not self.has_ended()

    def kill(self) -> None:
        """Kill the process if it still runs; leave neither a zombie nor our end of the pipe."""
        with self._connection, self._process:
            self._process.kill()  # does nothing if the process is gone


def _as_file(its: Any) -> Any:
    """Return a worker's end of a connection as what subprocess takes for its standard input."""
    if sys.platform == "win32":  # there, a file has a number besides the handle, and owns it
        number = msvcrt.open_osfhandle(reduction.duplicate(its.fileno()), 0)
        its = open(number, "rb", buffering=0)  # noqa: SIM115  # for the caller's block
    return its


def _hear(workers: list[_Worker], seconds: float) -> None:
    """Take in what living workers say, until the time is over or one has ended."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not any(one.has_ended() for one in workers):
        wait([worker._connection for worker in workers], left)
        for worker in workers:
            worker.hear()


def _stop(workers: list[_Worker]) -> None:
    """Ask the workers to end; kill those that do not end in time, or all at a second Ctrl-C.

    Those that are saving what they trained have longer.
    """

    def are_left() -> list[_Worker]:
        return [worker for worker in workers if not worker.has_ended()]

    with ExitStack() as each:  # a Ctrl-C while one is killed spares none of the others
        for worker in workers:
            each.callback(worker.kill)
        for worker in workers:
            worker.ask_to_stop()
        began = time.monotonic()
        deadline, last = began + _PATIENCE, began + _LONGEST
        while time.monotonic() < deadline and (left := are_left()):
            _hear(left, _LOOK)
            if any(worker.is_saving() for worker in left):
                with _signals.finishing():
                    while time.monotonic() < last and any(one.is_saving() for one in left):
                        _hear(are_left(), _LOOK)
                deadline = min(time.monotonic() + _PATIENCE, last)


def _raised(pickled: bytes, text: str, pid: int) -> Exception:
    """Return the error of a worker, with its traceback in the worker as a note."""
    try:
        error: Exception = cloudpickle.loads(pickled)
        error.add_note(f"Raised in a worker (process {pid}):\n{text}")
    except Exception:  # unpickling runs the user's code; or the error's class is missing here
        return WorkerError(f"A worker (process {pid}) raised what cannot be sent:\n{text}")
    return error


def main(connection: Connection[Any, Any], parent_id: int) -> NoReturn:
    """Run a worker process: receive a Job, work on it, and exit.

    Args:
        connection: The connection with the parent.
        parent_id: The parent's process id.
    """
    try:
        code = _work(connection, parent_id)
    except SystemExit as end:  # from a signal or a builder
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            _signals.print_line(end.code)
    # Exit as Python does, but without the second that it takes to tear TensorFlow down. Python
    # waits for the user's threads, and the search waits for this process. So that neither waits
    # forever, this process ends after a while in any case.
    limit = threading.Timer(_LINGER, os._exit, (code,))
    limit.daemon = True
    limit.start()
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the user's threads, if any
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _work(connection: Connection[Any, Any], parent_id: int) -> int:
    """Work on a Job, and return the exit code."""
    parent = _Parent(connection, parent_id)
    # SIGTERM may come twice, from the parent and from a cluster that ends the whole job. Neither
    # should interrupt at once.
    with _signals.listening("", (signal.SIGTERM,), escalates=False, is_meant=parent.asks):
        _signals.show_by(partial(parent.send, _SAVING))
        try:
            parent.send(_READY)
            payload = Payload(connection.recv_bytes())
            threading.Thread(target=parent.obey, daemon=True).start()
            with shown_once():
                work_on(payload)
        except Exception as error:  # the parent raises it, whatever it is
            # An error while the search is stopping does not matter.
            if not _signals.requested():
                parent.send(_ERROR, _picklable(error))
                return 1
    return _DONE


class _Parent:
    """Talk with the parent process, and notice when it is gone."""

    def __init__(self, connection: Connection[Any, Any], pid: int) -> None:
        self._connection = connection
        self._pid = pid
        self._asked = threading.Event()

    def send(self, word: str, value: object = None) -> None:
        """Send the parent a word, if it is still there; wait if it has not listened for long."""
        with suppress(OSError):
            self._connection.send((word, value))

    def asks(self) -> bool:
        """Whether the parent asked us to stop or is gone; else a signal was only meant for us."""
        return self._asked.wait(_WORD)

    def obey(self) -> None:
        """Stop this process when the parent says so, and end it when the parent is gone."""
        with suppress(EOFError, OSError):
            # A process that the user's script has forked keeps the connection open.
            while os.getppid() == self._pid:
                if self._connection.poll(_POLL):
                    self._connection.recv()
                    self._interrupt()
        self._interrupt()
        time.sleep(_PATIENCE)
        os._exit(1)  # a batch may last for hours, and nobody is left to kill this process

    def _interrupt(self) -> None:
        self._asked.set()
        _signals.send(signal.SIGTERM)


def _picklable(error: Exception) -> tuple[bytes, str]:
    """Return an error as bytes, or none if it cannot be pickled, and its traceback."""
    text = "".join(traceback.format_exception(error))
    try:
        return cloudpickle.dumps(error.with_traceback(None)), text
    except Exception:  # pickling runs the error's __reduce__, which may raise anything
        return b"", text
