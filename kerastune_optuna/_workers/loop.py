"""The worker loop, which any process on any machine can run: claim, run and report trials."""

from __future__ import annotations

import dataclasses
import logging
import socket
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import cloudpickle
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._backend import (
    Memory,
    apply_settings,
    check_threads,
    keras_settings,
    let_memory_grow,
)
from kerastune_optuna._exceptions import (
    ArgumentError,
    TooManyFailuresError,
    TunerError,
    WorkerError,
)
from kerastune_optuna._keras_tuner import is_fatal
from kerastune_optuna._scratch import ScratchError, sweep
from kerastune_optuna._search import Budget, LearningSampler
from kerastune_optuna._storage import INSTEAD, Location, connect, few_transactions
from kerastune_optuna._study import Ending, StudyRecord, TrialRecord, Watch, own_runs
from kerastune_optuna._trial import Call, is_of_memory, run_trial
from kerastune_optuna._workers.card import card_of_worker

# Errors in the code rather than in one configuration: every trial would raise them again.
_CODE_ERRORS = (NameError, TypeError, ImportError, AttributeError, ArgumentError)
_TENSORFLOW = logging.getLogger("tensorflow")
# Keras's seeds and sessions belong to the process, so the threads of a cluster's worker take turns.
_one_at_a_time = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Job:
    """Hold all that a worker needs to take part in a search."""

    storage: str | BaseStorage
    study_name: str
    sampler: BaseSampler
    pruner: BasePruner
    call: Call
    budget: Budget
    settings: tuple[str, str, str, str] = dataclasses.field(default_factory=keras_settings)
    # The study's system attribute in which tasks of an executor read whether this call of search()
    # goes on. Each call has its own: of two that write into one at once, one would lose.
    goes_on: str | None = None


@dataclasses.dataclass(frozen=True)
class Payload:
    """Hold a pickled Job; its repr, which clusters log, shows no password."""

    pickled: bytes = dataclasses.field(repr=False)


def work_on(payload: Payload, number: int = 0) -> None:
    """Take part in a search in this process.

    Args:
        payload: Holds the Job.
        number: The number of the worker, because Dask would merge tasks with equal arguments.

    Raises:
        TunerError: The search cannot go on.
    """
    check_threads()
    let_memory_grow()  # before an object of the job makes a tensor
    job: Job = cloudpickle.loads(payload.pickled)
    with _one_at_a_time, _optuna.quiet(), _signals.askable() as ask:
        apply_settings(job.settings)
        sweep()  # removes the folders of a dead worker that this one replaces
        study = _joined(job)
        study.sampler, study.pruner = job.sampler, job.pruner
        # The pickled sampler contains its generator: each worker would draw the same numbers.
        study.sampler.reseed_rng()
        fit = job.call.recipe.loaded(job.call.fit.unpacked())
        card = card_of_worker(job.call.card, job.call.recipe, fit)
        card.write(study)
        call = dataclasses.replace(job.call, fit=fit, card=card)

        def look() -> None:
            if job.goes_on is not None and _optuna.attrs_of(study).get(job.goes_on) is False:
                ask()

        look()  # a task may have waited until its call was over
        run_trials(study, call, job.budget, at_each_beat=look)


def _joined(job: Job) -> optuna.Study:
    """Return the study of a search that another process began; never create one.

    Raises:
        WorkerError: This host sees another storage than that process, or cannot share its disk.
    """
    location = Location(job.storage)
    shown = location.shown
    if not location.is_there:
        raise _elsewhere(shown)
    if (network := location.network_of_log) is not None:
        raise WorkerError(
            f"A worker on {socket.gethostname()} reaches {shown} over {network}, but the process "
            "that began the search has it on a local disk, with a write-ahead log that only "
            f"processes on one machine can share. To search on several, {INSTEAD}."
        )
    try:
        storage = connect(job.storage, later=True, make=False)
        study = optuna.load_study(study_name=job.study_name, storage=storage)
    except FileNotFoundError as error:  # the file of a journal is missing
        raise _elsewhere(str(error.filename)) from None
    except KeyError:
        raise _elsewhere(shown) from None
    # An earlier study, or a copy, does not know the call.
    if job.goes_on is not None and job.goes_on not in _optuna.attrs_of(study):
        raise _elsewhere(shown)
    return study


def _elsewhere(shown: str) -> WorkerError:
    """Return the error that a storage has no study of this search."""
    return WorkerError(
        f"A worker on {socket.gethostname()} does not find the study of its search in {shown}: "
        "the worker sees another storage than the process that began the search. To search on "
        f"several machines, {INSTEAD}."
    )


def run_trials(
    study: optuna.Study,
    call: Call,
    budget: Budget,
    notify: Callable[[], None] = lambda: None,
    at_each_beat: Callable[[], None] = lambda: None,
) -> None:
    """Run trials until the budget is spent.

    Args:
        study: The study to take trials from.
        call: What the trials of this call share.
        budget: When to stop.
        notify: Called after each trial of this process.
        at_each_beat: Called every few seconds, from another thread.

    Raises:
        TooManyFailuresError: So many trials failed in a row that the rest would fail too.
    """
    watch = Watch()
    budget.reap(study, watch)
    checked, memory = False, Memory()
    cause: Exception | None = None  # why the configuration of the latest trial failed
    stop = partial(budget.conditions.bring_about, study, "Stopped by study.stop()")
    with (
        _optuna.stoppable(study, stop),
        _learning_sampler(study, call, budget),
        few_transactions(_optuna.storage_of(study)),
        watch.beating(study, at_each_beat),
        memory.apart(),
        own_runs.leaving_all(),
    ):
        while (trial := budget.claim(study, watch)) is not None:
            try:
                with memory.released():
                    try:
                        ended, cause = run_trial(trial, call, memory, check=not checked), None
                    except Exception as error:  # a configuration may fail in any way
                        if _ends_search(study, error, check=not checked):
                            raise
                        _release(error, memory)
                        ended, cause = _optuna.as_stored(study, trial), error
            except (KeyboardInterrupt, ScratchError):
                if not _signals.is_of_this_process_alone():  # otherwise it counts as a death
                    budget.interrupt(study, trial)
                raise
            finally:
                own_runs.leave(_optuna.storage_of(study), _optuna.id_of(trial))
            notify()
            record = TrialRecord(ended)
            # A trial that its builder pruned did not get as far as its training.
            is_trained = record.ending is not Ending.FAILED and record.n_params is not None
            checked = checked or is_trained
            try:
                if record.ending.works is False:
                    budget.conditions.check_failures(study)
            except TooManyFailuresError as error:
                raise error from cause
            finally:
                cause = None  # its traceback holds this frame, which would hold it in turn


def _ends_search(study: optuna.Study, error: Exception, *, check: bool) -> bool:
    """Whether an error that a trial raised concerns more than the configuration of that trial."""
    # An ArgumentError may concern the builder of one trial.
    is_of_search = isinstance(error, TunerError) and not isinstance(error, ArgumentError)
    is_of_code = check and isinstance(error, _CODE_ERRORS)
    return is_of_search or is_fatal(error) or (is_of_code and not StudyRecord(study).finished)


def _release(error: Exception, memory: Memory) -> None:
    """Let go of the model whose training raised an error, which may become the cause of another."""
    linked: BaseException | None = error
    while linked is not None:
        traceback.clear_frames(linked.__traceback__)
        linked = linked.__context__
    if is_of_memory(error):
        memory.make_room()


@contextmanager
def _learning_sampler(study: optuna.Study, call: Call, budget: Budget) -> Iterator[None]:
    """Wrap the study's sampler in a LearningSampler within a block, and then restore it."""
    sampler, recipe = study.sampler, call.recipe
    if budget.laid_out is None:
        study.sampler = LearningSampler(
            sampler,
            recipe.objectives.watched,
            constrained=recipe.constraints.are_there,
            may_repeat=recipe.train_repeats,
            warm_trials=call.warm_trials,
            seed=call.sampler_seed,
            card=call.card.key,
        )
    try:
        yield
    finally:
        study.sampler = sampler


@contextmanager
def shown_once() -> Iterator[None]:
    """Show no warning a second time while the block runs.

    Python forgets which warnings it has shown whenever a library changes the filters, and Keras,
    Optuna and NumPy do so in each trial. TensorFlow's warning about retracing functions is not
    shown at all: each trial has another model, whose functions have to be traced.
    """
    seen: set[str] = set()
    show, is_over = warnings.showwarning, False

    def show_first(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        text = f"{filename}:{lineno}: {category.__name__}: {message}"
        # A search in another thread that began later may restore this function when it ends.
        if is_over or text not in seen:
            show(message, category, filename, lineno, file, line)
        seen.add(text)

    warnings.showwarning = show_first
    _TENSORFLOW.addFilter(_says_something)
    try:
        yield
    finally:
        is_over = True
        warnings.showwarning = show
        _TENSORFLOW.removeFilter(_says_something)


def _says_something(record: logging.LogRecord) -> bool:
    """Whether a message of TensorFlow's is to be shown."""
    return "triggered tf.function retracing" not in record.getMessage()
