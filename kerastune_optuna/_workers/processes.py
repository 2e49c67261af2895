"""Worker processes of this machine: started, watched, replaced and stopped."""

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
from contextlib import suppress
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
from kerastune_optuna._study import Watch, opening
from kerastune_optuna._workers.loop import Payload, work_on
from kerastune_optuna._workers.warnings import shown_once

_POLL = 0.5  # seconds between two looks at the study
_LOOK = 0.02  # seconds between two looks at whether a worker has ended
_PATIENCE = 5  # seconds that a worker has to end after it was told to, or after it saved its trial
_WORD = 3  # seconds that a worker, after a signal, waits for its parent to own to the signal
_LONGEST = 600  # seconds after which a worker is ended even if it still saves its trial
_LINGER = 30  # seconds that the user's threads and exit functions have once a worker is done
# How a worker says that it is done, which code 0 does not: any sys.exit() in a builder has it.
_DONE = 214
# The code of a worker process. Before the imports, which take seconds, it does two things: it
# ignores what the terminal sends to all processes, on Ctrl-C and when it is closed, and the parent
# passes on as SIGTERM; and it takes over the parent's sys.path, which may alone have this package.
# With -P, and with the current folder last until all is imported, a random.py there, say, is not
# taken for Python's own, which a notebook has imported before the current folder is on its path.
# During the imports standard error is closed off: TensorFlow's C++ prints there whatever
# TF_CPP_MIN_LOG_LEVEL says, and the parent's import has printed the same. Keras imports TensorFlow
# with any backend, to set its seed. Garbage collection during the imports would take a fifth of
# their time, and what they made stays: freeze() leaves it out of later collections.
_BOOT = """
import contextlib, gc, os, signal, sys
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
main({report!r})
"""
# Suffixes of files beside a worker's report: what is there while the worker saves what it trained,
# and what its parent makes before it asks the worker to stop.
_SAVING, _STOP = ".saving", ".stop"
# TensorFlow's C++ prints warnings and errors alone; and Python holds nothing back in a buffer,
# where it would be lost if the worker was killed.
_QUIET, _UNBUFFERED = {"TF_CPP_MIN_LOG_LEVEL": "1"}, {"PYTHONUNBUFFERED": "1"}


@dataclass
class LocalWorkers:
    """Run a search in processes of this machine: one that dies takes no other with it.

    Args:
        study: The study that is searched.
        budget: Makes up for the trial of a process that died, and says how many may die one after
            the other, without a trial that ended well between.
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
            WorkerError: Process after process died.
            Exception: What a worker raised, with its traceback as a note.
        """
        self.budget.reap(self.study, self._watch)
        with scratch() as folder:
            crew: dict[int, _Worker] = {}
            try:
                for number in range(self.n_workers):
                    crew[number] = self._start(number, folder)
                while crew and not _signals.requested():
                    _wait(list(crew.values()))
                    tick()
                    self._look_after(crew, folder)
            finally:
                _stop(list(crew.values()))

    def _start(self, number: int, folder: Path) -> _Worker:
        return _Worker(self.payload, number, self.n_workers, folder)

    def _look_after(self, crew: dict[int, _Worker], folder: Path) -> None:
        """Let go of the workers that are done, and replace those that died."""
        for number, worker in list(crew.items()):
            if worker.is_running():
                continue
            del crew[number]
            if worker.died():
                self._mourn(worker)
                crew[number] = self._start(number, folder)

    def _mourn(self, worker: _Worker) -> None:
        """Print that a worker died; raise where as many died in a row as are allowed."""
        done = len(opening.finished(self.study))
        self._deaths = self._deaths + 1 if done == self._finished_at_death else 1
        self._finished_at_death = done
        self.budget.reap(self.study, self._watch)
        if self._deaths >= self.budget.ending.most_failures:
            raise WorkerError(
                f"{self._deaths} workers died one after the other, the last one {worker.how()}. "
                "Look above for what it printed; search(n_workers=1) runs in this process."
            )
        died = f"A worker (process {worker.pid}) died {worker.how()}; another takes its place"
        _signals.tell(died)


class _Worker:
    """Run one worker process, from its start to what it came to."""

    def __init__(self, payload: bytes, number: int, n_workers: int, folder: Path) -> None:
        self._report = folder / f"{number}-{time.monotonic_ns()}"
        code = _BOOT.format(path=sys.path, report=str(self._report))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-c", code],
            stdin=subprocess.PIPE,
            env=_QUIET | os.environ | _UNBUFFERED | environment(number, n_workers, os.environ),
        )
        self.pid = self._process.pid
        self._pipe: Any = self._process.stdin
        # From a thread: a large payload fills the pipe long before the new process reads it.
        threading.Thread(target=self._send, args=(payload,), daemon=True).start()

    def _send(self, payload: bytes) -> None:
        with suppress(BrokenPipeError):  # it died, which its exit code tells
            self._pipe.write(len(payload).to_bytes(8, "big") + payload)
            self._pipe.flush()

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def is_running(self) -> bool:
        """Whether it still runs; raise what it raised where it does not."""
        if not self.has_ended():
            return True
        self._close()
        if self._report.exists():
            raise _raised(self._report, self.pid)
        return False

    def died(self) -> bool:
        """Whether it ended otherwise than by being done."""
        return self._process.returncode != _DONE

    def how(self) -> str:
        """Return how it ended, in words."""
        code = self._process.returncode
        by_sigterm = code == 128 + signal.SIGTERM  # after which it saved what it could
        number = signal.SIGTERM if by_sigterm else -code
        return f"by {signal.Signals(number).name}" if number > 0 else f"with exit code {code}"

    def ask_to_stop(self) -> None:
        """Make the file that tells the worker who sends the signal, and send it SIGTERM."""
        if self._process.poll() is None:
            with suppress(OSError):  # as where the disk is full: the worker then counts as killed
                self._report.with_suffix(_STOP).touch()
            if sys.platform != "win32":  # where it would end at once; it looks for the file
                self._process.terminate()

    def is_saving(self) -> bool:
        """Whether it is alive, and saves what it trained."""
        return self._report.with_suffix(_SAVING).exists() and not self.has_ended()

    def kill(self) -> None:
        """End it for good, and leave no zombie."""
        self._process.kill()  # which does nothing to a process that is gone
        self._process.wait()
        self._close()

    def _close(self) -> None:
        """Close our end of the pipe, which may hold what a dead process never read."""
        with suppress(BrokenPipeError):
            self._pipe.close()


def _wait(workers: list[_Worker]) -> None:
    """Wait until it is time to look at the study, or a worker has ended."""
    until = time.monotonic() + _POLL
    while time.monotonic() < until and not any(worker.has_ended() for worker in workers):
        time.sleep(_LOOK)


def _stop(workers: list[_Worker]) -> None:
    """Ask the workers to end; kill those that do not in time, or all at a second Ctrl-C."""
    try:
        for worker in workers:
            worker.ask_to_stop()
        _wait_for_all(workers)
    finally:
        for worker in workers:
            worker.kill()


def _wait_for_all(workers: list[_Worker]) -> None:
    """Wait for the end of the workers, and longer for those that save what they trained."""
    began = time.monotonic()
    deadline, last = began + _PATIENCE, began + _LONGEST
    while time.monotonic() < deadline and not all(worker.has_ended() for worker in workers):
        time.sleep(_LOOK)
        if any(worker.is_saving() for worker in workers):
            with _signals.finishing():
                while time.monotonic() < last and any(worker.is_saving() for worker in workers):
                    time.sleep(_LOOK)
            deadline = min(time.monotonic() + _PATIENCE, last)


def _raised(report: Path, pid: int) -> BaseException:
    """Return the error of a worker with the traceback that it had there."""
    try:
        error, text = cloudpickle.loads(report.read_bytes())
    except Exception as error:  # the file may be cut short, or an error's class missing here
        return WorkerError(
            f"A worker (process {pid}) ended with an error that did not reach this process "
            f"({type(error).__name__}: {error}), as where a disk is full. What it printed says why."
        )
    if error is None:
        return WorkerError(f"A worker (process {pid}) raised what cannot be sent:\n{text}")
    error.add_note(f"Raised in a worker (process {pid}):\n{text}")
    raised: BaseException = error
    return raised


def main(report_at: str) -> NoReturn:
    """Be a worker process: read a Job from standard input and work on it.

    Args:
        report_at: Where the parent looks for this worker's error.
    """
    try:
        code = _work(Path(report_at))
    except SystemExit as end:  # of a signal or of a builder
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            _signals.tell(end.code)
    _leave(code)


def _work(report: Path) -> int:
    """Work on a Job, and return the exit code."""
    parent = _Parent(report)
    # SIGTERM may come twice, from the parent and from a cluster that ends the whole job: neither
    # interrupts at once.
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
        except Exception as error:  # whatever it is, the parent raises it
            # An error while the search is being stopped is of no interest.
            if not _signals.requested():
                with open_private(report) as file:
                    file.write(_picklable(error))
                return 1
    return _DONE


def _own_pipe() -> IO[bytes]:
    """Return the pipe from the parent, and let standard input be empty.

    Processes that the user starts would inherit it, and on Windows wait for the read of a thread.
    """
    pipe = open(os.dup(0), "rb")  # noqa: SIM115
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    return pipe


class _Parent:
    """Tell what the process that started this one wants, and whether it is still there."""

    def __init__(self, report: Path) -> None:
        self._word = report.with_suffix(_STOP)
        self._is_gone = threading.Event()

    def asks(self) -> bool:
        """Whether the parent asked us to stop, or is gone; else a signal was meant for us alone."""
        until = time.monotonic() + _WORD
        while not (self._is_gone.is_set() or self._word.exists()):
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK)
        return True

    def obey(self) -> None:
        """Stop when the parent asks, on Windows, where it cannot send a signal."""
        while not self._word.exists():
            time.sleep(_LOOK)
        _signals.send(signal.SIGTERM)

    def die_with(self, pipe: IO[bytes]) -> None:
        """End this process when the parent is gone: its end of the pipe closes with it."""
        # The raw descriptor: a thread that waits in a buffered read makes Python abort at its end.
        os.read(pipe.fileno(), 1)
        self._is_gone.set()
        _signals.send(signal.SIGTERM)
        time.sleep(_PATIENCE)
        os._exit(1)  # a batch may last for hours, and nobody is left to kill this process


def _leave(code: int) -> NoReturn:
    """End this process as Python would, without the second that tearing TensorFlow down takes.

    Python waits for the user's threads, and the search for this process, however long that takes:
    so it ends in any case after a while.
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
    """End this process at once, and say which threads of the user's end with it."""
    main = threading.main_thread()
    names = [one.name for one in threading.enumerate() if not (one.daemon or one is main)]
    _signals.tell(
        f"A worker (process {os.getpid()}) was ended while its threads still ran "
        f"({', '.join(names) or 'exit functions'}). Let a thread that build_model starts end with "
        "it, or pass daemon=True to it."
    )
    os._exit(code)


def _picklable(error: Exception) -> bytes:
    text = "".join(traceback.format_exception(error))
    try:
        pickled: bytes = cloudpickle.dumps((error.with_traceback(None), text))
        cloudpickle.loads(pickled)  # which fails for errors whose __init__ takes other arguments
    except Exception:  # pickling runs the error's __reduce__ and __init__, which raise anything
        pickled = cloudpickle.dumps((None, text))  # the parent raises a WorkerError with the text
    return pickled
