"""Run a trial, and tell the study how it ended, whatever happens."""

from __future__ import annotations

import time
from contextlib import suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._backend import Memory
from kerastune_optuna._exceptions import StorageError, TunerError
from kerastune_optuna._signals import requested
from kerastune_optuna._storage import StoreAwayError
from kerastune_optuna._study import Ending, TrialFiles, TrialRecord, own_runs
from kerastune_optuna._trial import failure
from kerastune_optuna._trial.recipe import Call
from kerastune_optuna._trial.run import TrialRun


def run_trial(trial: optuna.Trial, call: Call, memory: Memory, *, check: bool) -> FrozenTrial:
    """Train one configuration and tell the study how it ended.

    Args:
        trial: The running trial.
        call: What the trials of this call share.
        memory: Frees what a training left in memory before the trial's next training.
        check: Whether to check before training that the model logs the objective.

    Returns:
        The finished trial.

    Raises:
        KeyboardInterrupt: A signal asked the search to end; the trial stays RUNNING.
        StorageError: The storage, or a temporary folder, is gone; the trial stays RUNNING.
        TunerError: The weights cannot be saved or loaded again; the trial has its result anyway.
    """
    record, began = TrialRecord(trial), time.perf_counter()
    try:
        ledger = TrialRun(trial, call, memory, check=check).run()
        record.seconds = round(time.perf_counter() - began, 3)
        record.code = ledger.ending.name
        state = ledger.ending.states[0 if ledger.means else -1]
        finished = _optuna.tell(trial.study, trial, ledger.means or None, state)
    except (KeyboardInterrupt, StorageError):
        raise
    except UpdateFinishedTrialError:
        # Another process runs the trial: it considers this one dead, say after the machine slept,
        # or the server gave the trial to both.
        return _optuna.as_stored(trial.study, trial)
    except BaseException as error:  # whatever the error, the trial must not stay RUNNING
        if requested():  # the signal may have killed a process that loads the data
            raise KeyboardInterrupt from error
        with suppress(UpdateFinishedTrialError):
            _fail(trial, call, error)
        raise
    wrong: TunerError | None = ledger.late_error
    keeping = call.recipe.keeping(trial.study, call.keep_best)
    try:
        keeping.files.discard(finished, TrialFiles.BACKUP)
        if keeping.files.ids(finished, TrialFiles.WEIGHTS):  # others may lose their place to it
            keeping.discard_outranked()
    except StoreAwayError as away:
        wrong = wrong or away  # missing weights matter more than leftover files
    if wrong is not None:
        raise wrong
    return finished


def _fail(trial: optuna.Trial, call: Call, error: BaseException) -> None:
    """Set a trial to FAIL; record the reason, and a key that is the same for equal errors.

    Raises:
        UpdateFinishedTrialError: The trial is another's by now, which its run here does not end.
    """
    own_runs.check(_optuna.storage_of(trial.study), _optuna.id_of(trial))
    TrialRecord(trial).code = Ending.FAILED.name
    TrialRecord(trial).stop_reason = failure.told(error)
    TrialRecord(trial).sameness = failure.sameness(error)
    failed = _optuna.tell(trial.study, trial, None, TrialState.FAIL)
    call.recipe.keeping(trial.study, call.keep_best).files.discard(failed, TrialFiles.BACKUP)
