"""The crew of a search: this process, worker processes beside it, or tasks of an executor."""

from __future__ import annotations

import dataclasses
import io
import marshal
import types
from collections.abc import Callable
from concurrent import futures
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from uuid import uuid4

import cloudpickle
import keras
import optuna

from kerastune_optuna import _check, _digest, _generators, _optuna, _signals
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError, WorkerError
from kerastune_optuna._report import Progress
from kerastune_optuna._scratch import scratch, sweep
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import StudyRecord, Watch
from kerastune_optuna._workers.compiled import compiled_once
from kerastune_optuna._workers.devices import check_tpu
from kerastune_optuna._workers.loop import Job, Payload, run_trials, work_on
from kerastune_optuna._workers.processes import LocalWorkers

_POLL = 0.5  # seconds between two checks of the workers
# The fields of a Job that are no argument of users.
_OF_SEVERAL = ("call", "recipe", "fit", "store", "budget")


class Crew:
    """Run the worker loop in this process, in worker processes or in an executor.

    Args:
        n_workers: How many workers run trials.
        executor: Where the workers run; None for this machine.

    Raises:
        ArgumentError: Keras cannot train in that executor; says what to pass instead.
    """

    def __init__(self, n_workers: int, executor: futures.Executor | None) -> None:
        _check.integer("n_workers", n_workers, least=1, instead="Pass 1 or more workers.")
        if executor is not None and not isinstance(executor, futures.Executor):
            raise ArgumentTypeError(
                f"executor={executor!r} is not a concurrent.futures.Executor. Pass one, like "
                "client.get_executor(pure=False) of a Dask client."
            )
        if isinstance(executor, futures.ThreadPoolExecutor):
            raise ArgumentError(
                "executor= is a ThreadPoolExecutor, whose threads would share Keras's seeds. Pass "
                "n_workers= without executor= for processes on this machine."
            )
        if n_workers > 1 and executor is None:
            check_tpu(n_workers)
        self.n_workers = n_workers
        self._executor = executor
        self.is_this_process = n_workers == 1 and executor is None  # otherwise others train

    def run(self, study: optuna.Study, job: Job, progress: Progress, folder: Path) -> None:
        """Work on a job until its budget is spent.

        Args:
            study: The job's study, as this process has it open.
            job: The search in which the workers take part.
            progress: Shows the progress of the search.
            folder: Where data may be written for workers on this machine.

        Raises:
            TunerError: The search cannot go on.
        """
        for place in (folder, None):
            sweep(place)
        size = job.budget.n_trials
        if size is not None and len(StudyRecord(study).finished) >= size:
            return
        watch, is_more = Watch(), True
        with compiled_once() if keras.backend.backend() == "jax" else nullcontext():
            while is_more:
                if self.is_this_process:
                    run_trials(study, job.call, job.budget, partial(progress.catch_up, waits=True))
                else:
                    self._run_elsewhere(study, job, progress, folder)
                progress.catch_up()
                is_more = job.budget.wait_for_others(study, watch)
        progress.catch_up()

    def _run_elsewhere(
        self, study: optuna.Study, job: Job, progress: Progress, folder: Path
    ) -> None:
        """Run workers in other processes, which claim trials until none is left for them."""
        if self._executor is None:
            folder.mkdir(parents=True, exist_ok=True)
            with scratch(folder) as arrays:
                payload = _pickled(job, arrays)
                LocalWorkers(study, job.budget, payload, self.n_workers).run(progress.catch_up)
        else:
            goes_on = f"kerastune_optuna:call:{uuid4()}"
            submit = self._executor.submit
            pickled = _pickled(dataclasses.replace(job, goes_on=goes_on), None)
            _optuna.set_attr(study, goes_on, True)
            tasks = {submit(work_on, Payload(pickled), number) for number in range(self.n_workers)}

            def tick() -> None:
                progress.catch_up()
                with unless_away():  # if it is away, the next tick tells them
                    job.budget.conditions.tell_if_late(study)

            try:
                _wait_for(tasks, tick)
            finally:
                if not all(task.done() for task in tasks):  # an executor does not pass Ctrl-C on
                    _optuna.set_attr(study, goes_on, False)
                for task in tasks:
                    task.cancel()  # Dask then says that the task is done, although it runs on


def _pickled(job: Job, arrays: Path | None) -> bytes:
    """Pack the data of a job, and pickle the job for other processes.

    Raises:
        ArgumentError: Names the argument that cannot be pickled.
    """
    # What the builder drew here before would travel with it.
    call, functions = job.call, job.call.fit.functions.values()
    _generators.restore_read(_digest.read_by(call.recipe.build_model, *functions))
    _optuna.let_travel(job.sampler)
    call = dataclasses.replace(call, fit=call.fit.packed(arrays))
    job, file = dataclasses.replace(job, call=call), io.BytesIO()
    try:
        _Pickler(file).dump(job)
    except Exception as error:  # the user's objects may refuse in any way
        raise _culprit(job, error) from error
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # which has no types
    """Pickle as cloudpickle does, but keep the file names that tracebacks show."""

    dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(
        {types.CodeType: lambda code: (marshal.loads, (marshal.dumps(code),))}
    )


def _culprit(job: Job, error: Exception) -> ArgumentError:
    """Return the error that names the argument which cannot be pickled."""
    call = job.call
    given = {**call.fit.data, **call.fit.others, "artifact_store": call.recipe.store}
    holders = (call.recipe, call, job, job.budget.conditions)
    arguments = {**given, **{name: one for held in holders for name, one in vars(held).items()}}
    names = []
    for name, value in arguments.items():
        try:
            cloudpickle.dumps(value)
        except Exception:  # the __reduce__ of the user's objects may raise anything
            names.append(name)
    names = [name for name in names if name not in _OF_SEVERAL]
    return ArgumentError(
        f"{' and '.join(names)} cannot travel to other workers ({type(error).__name__}: {error}). "
        "Pass a function that makes it there (for storage, a URL), or search with n_workers=1."
    )


def _wait_for(tasks: set[futures.Future[None]], tick: Callable[[], None]) -> None:
    """Wait for the tasks of a search, calling `tick` now and then.

    Raises:
        WorkerError: The executor lost its workers.
        Exception: What a worker raised.
    """
    running = tasks
    try:
        while running and not _signals.requested():
            done, running = futures.wait(running, _POLL, futures.FIRST_COMPLETED)
            tick()
            for task in done:
                task.result()
    except Exception as error:  # an error that a worker raised is raised again as it is
        # Dask's error for a task whose workers died too often has no public base class.
        lost = isinstance(error, futures.BrokenExecutor)
        if not lost and type(error).__name__ != "KilledWorker":
            raise
        raise WorkerError(
            f"The executor lost a worker and broke ({error}). Call search() again to continue, or "
            "pass n_workers= without executor=, so that workers that die are replaced."
        ) from error
