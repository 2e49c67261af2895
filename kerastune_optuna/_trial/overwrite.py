"""overwrite=True: a study that nobody searches is deleted, once by all copies of a script."""

from __future__ import annotations

import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna, _signals
from kerastune_optuna._exceptions import StudyMismatchError
from kerastune_optuna._storage import WORKER
from kerastune_optuna._study import (
    Home,
    Objectives,
    Watch,
    beside,
    deletion_of,
    family,
    liveness,
    opening,
    record,
)
from kerastune_optuna._trial.deletion import delete_study

_POLL = 0.5  # seconds between two looks at trials of which only time tells whether they run
# Variables that a launcher (Slurm, PMIx, Open MPI) gives the same values in all processes that it
# starts at once, on many machines, and in no others.
_LAUNCHES = (
    ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    ("PMIX_NAMESPACE",),
    ("OMPI_MCA_ess_base_jobid",),
)


def clear(home: Home) -> None:
    """Delete the study that a home names, unless a copy of this script has just made it anew.

    Raises:
        StudyMismatchError: It is searched, or may be.
    """
    while (found := _found(home.storage, home.name)) is not None:
        try:
            if not _may_be_shared(found, home.objectives):
                _check_idle(found)
                delete_study(found, home.store)
            return
        except KeyError:
            if deletion_of(found) is None:
                raise
            # A copy of the script deleted it meanwhile, and may have made the new one.


def opened(home: Home) -> optuna.Study:
    """Return the study that is about to be written to.

    The first time in this process it is a new study, where the home is to overwrite; and where it
    has trials, its sampler gets another seed: a pickled or seeded sampler would draw their
    parameters again.
    """
    if not home.has_begun:
        if home.overwrite:
            home.forget()
            with opening.quiet_optuna():
                clear(home)
            mark(home.study)
        if home.study.get_trials(deepcopy=False):
            home.study.sampler.reseed_rng()
        home.has_begun = True
    return home.study


def mark(study: optuna.Study) -> None:
    """Write into a study that this process made it anew, where no copy of its script did."""
    if _made(study) is None:
        when = {"at": _now(), "script": _script(), "launch": _launch()}
        made = {"by": liveness.signature(), "machine": liveness.machine(), **when}
        _optuna.set_attr(study, record.MADE, made)


def _found(storage: BaseStorage, name: str) -> optuna.Study | None:
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        # MySQL ignores the case of letters when it looks for a name.
        return study if storage.get_study_name_from_id(_optuna.id_of(study)) == name else None
    except KeyError:
        return None


def _made(study: optuna.Study) -> dict[str, Any] | None:
    """Return what a study says of the process that made it anew; None where it says nothing."""
    made: dict[str, Any] | None = _optuna.attrs_of(study).get(record.MADE)
    return made


def _may_be_shared(study: optuna.Study, objectives: Objectives) -> bool:
    """Whether a study is new: made by a copy of this script, or by anyone a moment ago."""
    # Asked before the mark, which a copy writes before its first trial: asked after it, a study
    # that another copy goes on to fill meanwhile would seem to be an old one.
    is_empty = not study.get_trials(deepcopy=False) and not study.user_attrs
    made = _made(study)
    if made is not None and _is_of_a_copy(made):
        return True
    return is_empty and opening.has(study, objectives)


def _is_of_a_copy(made: dict[str, Any]) -> bool:
    """Whether a process that made a study was started with this one, by the same script.

    A process that ran before the study was made cannot have been started to replace it.
    """
    is_interactive = "ipykernel" in sys.modules or hasattr(sys, "ps1")
    if is_interactive or made["by"] == liveness.signature() or made["script"] != _script():
        return False
    if made["machine"] == liveness.machine():
        return _began() <= float(made["at"])
    return _launch() is not None and made["launch"] == _launch()


def _script() -> str:
    """Return the path of the script that this process runs, or its code where it has no path."""
    return shlex.join(sys.orig_argv) if sys.argv[0] == "-c" else os.path.abspath(sys.argv[0])


def _launch() -> list[str] | None:
    """Return the launcher's values for the processes started with this one; None without one."""
    known = (names for names in _LAUNCHES if names[0] in os.environ)
    return [os.environ.get(name, "") for name in next(known, ())] or None


def _now() -> float:
    """Return the seconds since the boot, which nobody can set; outside of Linux the time."""
    return float(Path("/proc/uptime").read_text().split()[0]) if psutil.LINUX else time.time()


def _began() -> float:
    """Return when this process began, on the same clock."""
    began = liveness.started(os.getpid())
    if sys.platform != "linux":
        return began
    return began / os.sysconf("SC_CLK_TCK")


def _check_idle(study: optuna.Study) -> None:
    """Refuse to delete a study that a process trains; wait while it is in doubt whether one does.

    Raises:
        StudyMismatchError: Names the trial and the process.
    """
    watch, is_told = Watch(), False
    while running := _running(study, watch):
        for part, trial in running:
            if not watch.is_in_doubt(trial):
                raise StudyMismatchError(_why_not(study.study_name, part, trial))
        if not is_told:
            part, trial = running[0]
            _signals.tell(f"Waiting for a sign of {_whose(part, trial)}")
            is_told = True
        if _signals.requested():
            raise KeyboardInterrupt
        time.sleep(_POLL)


def _running(study: optuna.Study, watch: Watch) -> list[tuple[str, FrozenTrial]]:
    """Return the trials of our workers that run or may run, each with the name of its study."""
    found = []
    for name in [study.study_name, *family(study)]:
        with suppress(KeyError):  # a copy deleted it meanwhile
            # Not loaded by its name, which a copy may have given to a new study meanwhile.
            is_whole = name == study.study_name
            part = study if is_whole else beside(study, name)
            trials = watch.running(part)
            # Of processes that are not ours we cannot know if they live.
            ours = (one for one in trials if not liveness.is_foreign(one))
            found += [(name, one) for one in ours if not watch.is_dead(one)]
    return found


def _why_not(name: str, part: str, trial: FrozenTrial) -> str:
    return (
        f"overwrite=True would delete study {name!r} while {_whose(part, trial)} is running. Stop "
        "that process, or wait until it has ended, and call this again; or pass another study_name."
    )


def _whose(part: str, trial: FrozenTrial) -> str:
    """Return which trial a process runs, and which process that is."""
    signed = str(trial.user_attrs.get(WORKER, "")).rsplit(":", 2)
    where = "this machine" if signed[0] == liveness.machine() else signed[0].rpartition("-")[0]
    by = f" (process {signed[1]} on {where})" if len(signed) == 3 else ""
    return f"trial {trial.number} of study {part!r}{by}"
