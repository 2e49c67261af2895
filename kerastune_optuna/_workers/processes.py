"""Worker processes on this machine: start, watch, replace and stop them."""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

import cloudpickle
import optuna

from kerastune_optuna import _signals
from kerastune_optuna._backend import environment
from kerastune_optuna._exceptions import WorkerError
from kerastune_optuna._scratch import open_private, scratch
from kerastune_optuna._search import Budget
from kerastune_optuna._study import StudyRecord, Watch
from kerastune_optuna._workers import compiled
from kerastune_optuna._workers.loop import Payload, work_on
from kerastune_optuna._workers.warnings import shown_once

_POLL = 0.5  # seconds between two looks at the study
_LOOK = 0.02  # seconds between two checks of whether a worker has ended
_PATIENCE = 5  # seconds that a worker has to end after it was asked to, or after saving its trial
_WORD = 3  # seconds that a worker, after a signal, waits for the file that says its parent sent it
_LONGEST = 600  # seconds after which a worker is killed even if it is still saving its trial
_LINGER = 30  # seconds that the user's threads and exit functions have once a worker is done
# The exit code of a worker that is done. It is not 0, since any sys.exit() in a builder gives 0.
_DONE = 214
# The code of a worker process. Before the imports, which take seconds, it does three things. It
# notes its parent, which may be gone after them. It ignores the signals that a terminal sends to
# all processes, on Ctrl-C and when it is closed: the parent sends SIGTERM instead. And it takes
# over the parent's sys.path, since only that may have this package. With -P, and with the current
# folder last until the imports are done, a file such as random.py there does not hide Python's own
# module. (A notebook imports those modules before the current folder is on its path.) During the
# imports, standard error is discarded: TensorFlow's C++ code prints there whatever
# TF_CPP_MIN_LOG_LEVEL says, and the parent has printed the same. Keras imports TensorFlow with any
# backend, to set its seed. Garbage collection during the imports would take a fifth of their time,
# and the imported objects stay: freeze() excludes them from later collections.
_BOOT = """
import contextlib, gc, os, signal, sys
parent = os.getppid()
for name in {{"SIGINT", "SIGHUP"}} & set(dir(signal)):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
sys.path[:] = sorted({path!r}, key=lambda folder: folder == "")
gc.disable()
stderr = os.dup(2)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
try:
    from kerastune_optuna._workers.processes import main
    with contextlib.suppress(ImportError):
        import tensorflow
finally:
    os.dup2(stderr, 2)
sys.path[:] = {path!r}
gc.freeze()
gc.enable()
main({report!r}, parent)
"""
# Suffixes of files next to a worker's report. The first exists while the worker saves what it
# trained; the parent creates the second before it asks the worker to stop.
_SAVING, _STOP = ".saving", ".stop"
# TensorFlow's C++ code prints only warnings and errors. Python does not buffer its output, which
# would be lost if the worker was killed.
_QUIET, _UNBUFFERED = {"TF_CPP_MIN_LOG_LEVEL": "1"}, {"PYTHONUNBUFFERED": "1"}


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
    _deaths: int = 0
    _finished_at_death: int = 0

    def run(self, tick: Callable[[], None]) -> None:
        """Start the workers and wait for all of them, calling `tick` now and then.

        Raises:
            WorkerError: Too many processes died in a row.
            Exception: What a worker raised, with its traceback as a note.
        """
        self.budget.reap(self.study, self._watch)
        with scratch() as folder:
            crew: dict[int, _Worker] = {}
            try:
                for number in range(self.n_workers):
                    crew[number] = _Worker(self.payload, number, self.n_workers, folder)
                while crew and not _signals.requested():
                    _wait(list(crew.values()))
                    tick()
                    self._look_after(crew, folder)
            finally:
                _stop(list(crew.values()))

    def _look_after(self, crew: dict[int, _Worker], folder: Path) -> None:
        """Remove the workers that are done, and replace those that died."""
        for number, worker in list(crew.items()):
            if worker.is_running():
                continue
            del crew[number]
            if worker.died():
                self._mourn(worker)
                crew[number] = _Worker(self.payload, number, self.n_workers, folder)

    def _mourn(self, worker: _Worker) -> None:
        """Print that a worker died; raise if too many died in a row."""
        done = len(StudyRecord(self.study).finished)
        self._deaths = self._deaths + 1 if done == self._finished_at_death else 1
        self._finished_at_death = done
        self.budget.reap(self.study, self._watch)
        if self._deaths >= self.budget.ending.most_failures:
            raise WorkerError(
                f"{self._deaths} workers died one after another, the last one {worker.how()}. "
                "See its output above; search(n_workers=1) runs in this process."
            )
        died = f"A worker (process {worker.pid}) died {worker.how()}; another takes its place"
        _signals.tell(died)


class _Worker:
    """Run one worker process, from its start to its end."""

    def __init__(self, payload: bytes, number: int, n_workers: int, folder: Path) -> None:
        self._report = folder / f"{number}-{time.monotonic_ns()}"
        code = _BOOT.format(path=sys.path, report=str(self._report))
        own = environment(number, n_workers, os.environ) | compiled.environment()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-c", code],
            stdin=subprocess.PIPE,
            env=_QUIET | os.environ | _UNBUFFERED | own,
        )
        self.pid = self._process.pid
        self._pipe: Any = self._process.stdin
        # In a thread: a large payload fills the pipe long before the new process reads it.
        threading.Thread(target=self._send, args=(payload,), daemon=True).start()

    def _send(self, payload: bytes) -> None:
        """Write the payload, after its length, to the process."""
        with suppress(BrokenPipeError):  # the process died, which its exit code tells us
            self._pipe.write(len(payload).to_bytes(8, "big") + payload)
            self._pipe.flush()

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def is_running(self) -> bool:
        """Whether the process still runs; if not, raise the error that it raised, if any."""
        if not self.has_ended():
            return True
        self.kill()
        if self._report.exists():
            raise _raised(self._report, self.pid)
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
        """Create the file that says that its parent sends the signal, and send it SIGTERM."""
        if self._process.poll() is None:
            with suppress(OSError):  # if the disk is full, the worker counts as killed by others
                self._report.with_suffix(_STOP).touch()
            if sys.platform != "win32":  # there it would end at once, so it polls for the file
                self._process.terminate()

    def is_saving(self) -> bool:
        """Whether the process is alive and saving what it trained."""
        return self._report.with_suffix(_SAVING).exists() and not self.has_ended()

    def kill(self) -> None:
        """Kill the process if it still runs; leave neither a zombie nor our end of its pipe."""
        # The pipe may contain data that a dead process never read.
        with suppress(BrokenPipeError), self._process:
            self._process.kill()  # does nothing if the process is gone


def _wait(workers: list[_Worker]) -> None:
    """Wait until it is time to read the study, or a worker has ended."""
    until = time.monotonic() + _POLL
    while time.monotonic() < until and not any(worker.has_ended() for worker in workers):
        time.sleep(_LOOK)


def _stop(workers: list[_Worker]) -> None:
    """Ask the workers to end; kill those that do not end in time, or all at a second Ctrl-C.

    Those that are saving what they trained have longer.
    """
    with ExitStack() as each:  # a Ctrl-C while one is killed spares none of the others
        for worker in workers:
            each.callback(worker.kill)
        for worker in workers:
            worker.ask_to_stop()
        began = time.monotonic()
        deadline, last = began + _PATIENCE, began + _LONGEST
        while time.monotonic() < deadline and not all(worker.has_ended() for worker in workers):
            time.sleep(_LOOK)
            if any(worker.is_saving() for worker in workers):
                with _signals.finishing():
                    while time.monotonic() < last and any(one.is_saving() for one in workers):
                        time.sleep(_LOOK)
                deadline = min(time.monotonic() + _PATIENCE, last)


def _raised(report: Path, pid: int) -> BaseException:
    """Return the error of a worker, with its traceback in the worker as a note."""
    try:
        error, text = cloudpickle.loads(report.read_bytes())
    except Exception as error:  # the file may be cut short, or an error's class missing here
        return WorkerError(
            f"A worker (process {pid}) ended with an error that did not reach this process "
            f"({type(error).__name__}: {error}), perhaps because the disk is full. See its output."
        )
    if error is None:
        return WorkerError(f"A worker (process {pid}) raised what cannot be sent:\n{text}")
    error.add_note(f"Raised in a worker (process {pid}):\n{text}")
    raised: BaseException = error
    return raised


def main(report_at: str, parent_id: int) -> NoReturn:
    """Run a worker process: read a Job from standard input, work on it, and exit.

    Args:
        report_at: The file in which the parent looks for this worker's error.
        parent_id: The parent's process id.
    """
    try:
        code = _work(Path(report_at), parent_id)
    except SystemExit as end:  # from a signal or a builder
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            _signals.tell(end.code)
    _leave(code)


def _work(report: Path, parent_id: int) -> int:
    """Work on a Job, and return the exit code."""
    parent = _Parent(report, parent_id)
    # SIGTERM may come twice, from the parent and from a cluster that ends the whole job. Neither
    # should interrupt at once.
    with _signals.listening("", (signal.SIGTERM,), escalates=False, is_meant=parent.asks):
        _signals.show_by(report.with_suffix(_SAVING))
        pipe = _own_pipe()
        payload = Payload(pipe.read(int.from_bytes(pipe.read(8), "big")))
        threading.Thread(target=parent.die_with, args=(pipe,), daemon=True).start()
        if sys.platform == "win32":
            threading.Thread(target=parent.obey, daemon=True).start()
        try:
            with shown_once():
                work_on(payload)
        except Exception as error:  # the parent raises it, whatever it is
            # An error while the search is stopping does not matter.
            if not _signals.requested():
                with open_private(report) as file:
                    file.write(_picklable(error))
                return 1
    return _DONE


def _own_pipe() -> IO[bytes]:
    """Return the pipe from the parent, and make standard input empty.

    Processes that the user starts would inherit the pipe. On Windows, they would then wait for the
    thread that reads it.
    """
    pipe = open(os.dup(0), "rb")  # noqa: SIM115
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    return pipe


class _Parent:
    """Watch the parent process: whether it asks this one to stop, and whether it still runs."""

    def __init__(self, report: Path, pid: int) -> None:
        self._pid = pid
        self._word = report.with_suffix(_STOP)
        self._is_gone = threading.Event()

    def asks(self) -> bool:
        """Whether the parent asked us to stop or is gone; else a signal was only meant for us."""
        until = time.monotonic() + _WORD
        while not (self._is_gone.is_set() or self._word.exists()):
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK)
        return True

    def obey(self) -> None:
        """Stop when the parent asks on Windows, where it cannot send a signal."""
        while not self._word.exists():
            time.sleep(_LOOK)
        _signals.send(signal.SIGTERM)

    def die_with(self, pipe: IO[bytes]) -> None:
        """End this process when the parent is gone, which closes the parent's end of the pipe."""
        # The raw descriptor: if a thread waits in a buffered read, Python aborts at exit.
        if sys.platform == "win32":
            os.read(pipe.fileno(), 1)
        else:  # a process that the user's script has forked keeps the pipe open
            while (
                os.getppid() == self._pid and not select.select([pipe.fileno()], [], [], _POLL)[0]
            ):
                pass
        self._is_gone.set()
        _signals.send(signal.SIGTERM)
        time.sleep(_PATIENCE)
        os._exit(1)  # a batch may last for hours, and nobody is left to kill this process


def _leave(code: int) -> NoReturn:
    """Exit as Python does, but without the second that it takes to tear TensorFlow down.

    Python waits for the user's threads, and the search waits for this process. So that neither
    waits forever, this process ends after a while in any case.
    """
    limit = threading.Timer(_LINGER, _give_up, (code,))
    limit.daemon = True
    limit.start()
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the user's threads, if any
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _give_up(code: int) -> NoReturn:
    """Exit at once, and print which of the user's threads end with this process."""
    main = threading.main_thread()
    names = [one.name for one in threading.enumerate() if not (one.daemon or one is main)]
    _signals.tell(
        f"A worker (process {os.getpid()}) was ended while its threads still ran "
        f"({', '.join(names) or 'exit functions'}). Let a thread that build_model starts end with "
        "it, or pass daemon=True to it."
    )
    os._exit(code)


def _picklable(error: Exception) -> bytes:
    """Return an error and its traceback, or the traceback alone, as bytes."""
    text = "".join(traceback.format_exception(error))
    try:
        pickled: bytes = cloudpickle.dumps((error.with_traceback(None), text))
        cloudpickle.loads(pickled)  # which fails for errors whose __init__ takes other arguments
    except Exception:  # pickling runs the error's __reduce__ and __init__, which may raise anything
        pickled = cloudpickle.dumps((None, text))  # the parent raises a WorkerError with the text
    return pickled
