"""overwrite=True: delete a study that no process searches, with all files of its trials."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SAWarning

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._exceptions import StudyMismatchError
from kerastune_optuna._storage import PatientStore
from kerastune_optuna._study import Home, StudyRecord, TrialFiles, TrialRecord, Watch

_POLL = 0.5  # seconds between two looks at trials that may or may not be running


def clear(home: Home) -> None:
    """Delete the study that a home names, if there is one.

    Raises:
        StudyMismatchError: A process is searching it.
    """
    with _optuna.quiet(), suppress(KeyError):
        if (found := home.find()) is not None:
            _check_idle(found)  # a KeyError says that another process has deleted it by now
            delete_study(found, home.store)


def is_replaced(home: Home) -> bool:
    """Replace a study with other objectives if no trial has a result; keep what is enqueued.

    Returns:
        Whether it was replaced.
    """
    found = home.find()
    trials = [] if found is None else found.get_trials(deepcopy=False)
    if found is None or not all(TrialRecord(trial).has_no_result for trial in trials):
        return False
    clear(home)
    waiting = (one for one in trials if one.state is TrialState.WAITING)
    home.study.add_trials(one for one in waiting if TrialRecord(one).fixed_params)
    return True


def _check_idle(study: optuna.Study) -> None:
    """Raise if a process is searching the study; wait while that is in doubt.

    Raises:
        StudyMismatchError: A process is searching it; the message names the trial and the process.
    """
    watch, is_told = Watch(), False
    while running := _running(study, watch):
        for trial, whose in running:
            if not watch.is_in_doubt(trial):
                raise StudyMismatchError(
                    f"overwrite=True would delete study {study.study_name!r} while {whose} is "
                    "running. Stop that process or wait until it has ended, then try again; or "
                    "pass another study_name."
                )
        if not is_told:
            _signals.print_line(f"Waiting for a sign of life from {running[0][1]}")
            is_told = True
        if _signals.requested():
            raise KeyboardInterrupt
        time.sleep(_POLL)


def _running(study: optuna.Study, watch: Watch) -> list[tuple[FrozenTrial, str]]:
    """Return the trials of our workers that run or may run, each with words that say where."""
    found = []
    for part in (study, *StudyRecord(study).parts.values()):
        with suppress(KeyError):  # another process has deleted it
            trials, of = watch.running(part), f"of study {part.study_name!r}"
            # Nothing shows whether processes other than our workers are alive.
            ours = (
                trial
                for trial in trials
                if not (TrialRecord(trial).is_foreign or watch.is_dead(trial))
            )
            found += [(one, f"trial {one.number} {of} ({Watch.whereabouts(one)})") for one in ours]
    return found


def delete_study(study: optuna.Study, store: PatientStore) -> None:
    """Delete a study and the studies that are part of it, with the files of their trials.

    Trials that ran before a study was copied keep their files.
    """
    for part in (*StudyRecord(study).parts.values(), study):
        storage = _optuna.storage_of(part)
        files = TrialFiles(store, storage)
        with suppress(KeyError):  # another process has deleted it
            for trial in Watch.own_trials(part):
                files.discard(trial)
            # Delete by id, since a new study may have the name by now. SQLAlchemy warns if another
            # process deletes the same rows at the same time.
            with warnings.catch_warnings(action="ignore", category=SAWarning):
                storage.delete_study(_optuna.id_of(part))
