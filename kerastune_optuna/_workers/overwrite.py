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
from kerastune_optuna._study import Home, StudyRecord, TrialRecord, Watch
from kerastune_optuna._trial import files

_POLL = 0.5  # seconds between two looks at trials that may or may not be running


def clear(home: Home) -> None:
    """Delete the study that a home names, if there is one.

    Raises:
        StudyMismatchError: A process is searching it.
    """
    if (found := home.find()) is not None:
        with suppress(KeyError):  # another process has deleted it, and may create the new one
            _check_idle(found)
            delete_study(found, home.store)


def opened(home: Home) -> optuna.Study:
    """Return the study that is about to be written to.

    If `overwrite` is set, the first call in a process replaces the study by a new one. If the study
    has trials, that call reseeds the sampler: otherwise, a pickled or seeded sampler would draw
    their parameters again.
    """
    if not home.has_begun:
        if home.overwrite:
            home.forget()
            with _optuna.quiet():
                clear(home)
        _replace_if_in_vain(home)
        # A storage that may only be read refuses this before anything else happens. Optuna writes
        # no value that is there already, so it is the time.
        StudyRecord(home.study).written = time.time_ns()
        home.name_metrics(home.study)
        if home.study.get_trials(deepcopy=False):
            home.study.sampler.reseed_rng()
        home.has_begun = True
    return home.study


def _replace_if_in_vain(home: Home) -> None:
    """Replace a study with other objectives if no trial has a result; keep what is enqueued.

    Raises:
        StudyMismatchError: The study has other objectives, and trials with results.
    """
    try:
        _ = home.study
    except StudyMismatchError:
        found = home.find()
        trials = [] if found is None else found.get_trials(deepcopy=False)
        if found is None or not all(TrialRecord(trial).has_no_result for trial in trials):
            raise
        with _optuna.quiet():
            clear(home)
        waiting = (one for one in trials if one.state is TrialState.WAITING)
        home.study.add_trials(one for one in waiting if TrialRecord(one).fixed_params)


def _check_idle(study: optuna.Study) -> None:
    """Raise if a process is searching the study; wait while that is in doubt.

    Raises:
        StudyMismatchError: A process is searching it; the message names the trial and the process.
    """
    watch, is_told = Watch(), False
    while running := _running(study, watch):
        for part, trial in running:
            if not watch.is_in_doubt(trial):
                raise StudyMismatchError(
                    f"overwrite=True would delete study {study.study_name!r} while "
                    f"{_whose(part, trial)} is running. Stop that process or wait until it has "
                    "ended, then try again; or pass another study_name."
                )
        if not is_told:
            part, trial = running[0]
            _signals.tell(f"Waiting for a sign of life from {_whose(part, trial)}")
            is_told = True
        if _signals.requested():
            raise KeyboardInterrupt
        time.sleep(_POLL)


def _running(study: optuna.Study, watch: Watch) -> list[tuple[str, FrozenTrial]]:
    """Return the trials of our workers that run or may run, each with the name of its study."""
    found = []
    for part in (study, *StudyRecord(study).parts.values()):
        with suppress(KeyError):  # another process has deleted it
            trials = watch.running(part)
            # Nothing shows whether processes other than our workers are alive.
            ours = (one for one in trials if not TrialRecord(one).is_foreign)
            found += [(part.study_name, one) for one in ours if not watch.is_dead(one)]
    return found


def _whose(part: str, trial: FrozenTrial) -> str:
    """Return a text that names a trial and the process that runs it."""
    return f"trial {trial.number} of study {part!r} ({Watch.whereabouts(trial)})"


def delete_study(study: optuna.Study, store: PatientStore) -> None:
    """Delete a study and the studies that are part of it, with the files of their trials.

    Trials that ran before a study was copied keep their files.
    """
    for part in (*StudyRecord(study).parts.values(), study):
        storage = _optuna.storage_of(part)
        with suppress(KeyError):  # another process has deleted it
            for trial in Watch.own_trials(part):
                files.discard(store, storage, trial, *files.KINDS)
            # Delete by id, since a new study may have the name by now. SQLAlchemy warns if another
            # process deletes the same rows at the same time.
            with warnings.catch_warnings(action="ignore", category=SAWarning):
                storage.delete_study(_optuna.id_of(part))
