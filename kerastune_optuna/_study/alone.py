"""The second try of a trial that ran out of memory, for which others of its machine wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._study import record
from kerastune_optuna._study.liveness import is_signed_here, machine, runs, signed_by

_POLL = 0.5  # seconds between two looks at the other trials


def is_second_try(trial: FrozenTrial) -> bool:
    """Whether a trial ran out of memory before."""
    return record.ALONE in trial.system_attrs


def is_waited_for(trial: FrozenTrial) -> bool:
    """Whether no other trial of its machine is to run beside a trial."""
    return bool(trial.system_attrs.get(record.ALONE))


def is_any_waited_for(trials: Sequence[FrozenTrial]) -> bool:
    """Whether this process is to begin no trial, since another of its machine runs one alone."""
    running = (one for one in trials if one.state is TrialState.RUNNING)  # of thousands, few run
    return any(is_waited_for(one) and _runs_beside(one) for one in running)


def others(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that other processes of this machine run."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return list(filter(_runs_beside, running))


def wait_for_others(
    study: optuna.Study, trial: FrozenTrial, is_interrupted: Callable[[], bool]
) -> None:
    """Wait until no other trial of this machine runs, or only such as wait for this one.

    Args:
        study: The study of the trials.
        trial: The one that runs alone.
        is_interrupted: Whether a signal asked for the end.

    Raises:
        KeyboardInterrupt: A signal did.
    """
    while any(one.number < trial.number or not is_waited_for(one) for one in others(study)):
        if is_interrupted():
            raise KeyboardInterrupt
        time.sleep(_POLL)


def _runs_beside(trial: FrozenTrial) -> bool:
    """Whether another process of this machine, which is alive, runs a trial."""
    if trial.state is not TrialState.RUNNING or is_signed_here(trial):
        return False
    signed = signed_by(trial)
    return signed is not None and signed["machine"] == machine() and runs(signed)
