"""The slots of a study: the trials that count towards its size, and those that may be taken.

A WAITING slot is free. A worker takes it by setting it to RUNNING, which Optuna's storages let only
one worker do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._study import TrialRecord, liveness, retry


def of(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count towards the size of the study, ordered by number."""
    trials = _optuna.known_trials(study, anew=True)
    idle = retry.idle_retries(trials)
    return [one for one in trials if counts(one) and one.number not in idle]


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards the size of the study.

    A trial that other code runs counts only once it has ended, since its process may be gone.
    """
    if trial.state is TrialState.RUNNING:
        return not liveness.is_foreign(trial)
    return trial.state is not TrialState.FAIL


def free(slots: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the slots that may be taken, in the order in which workers should take them."""
    waiting = (one for one in slots if one.state is TrialState.WAITING)
    return sorted(waiting, key=is_enqueued, reverse=True)


def is_enqueued(trial: FrozenTrial) -> bool:
    """Whether a WAITING trial has parameters already, from the user or from an earlier worker."""
    return bool(TrialRecord(trial).fixed_params)


def has_asked(trial: FrozenTrial) -> bool:
    """Whether a trial's builder has asked for parameters, or has ended without any."""
    return bool(trial.params) or trial.state.is_finished()


def take_one(
    study: optuna.Study,
    free: Sequence[FrozenTrial],
    then: Callable[[optuna.Study, FrozenTrial], object],
) -> Trial | None:
    """Take one of the free slots and begin its trial; return None if other workers were first.

    Args:
        study: The study.
        free: Its free slots.
        then: Called with the study and the slot before the sampler draws, which may take long.
    """
    for slot in free:
        with suppress(UpdateFinishedTrialError):  # another worker took it, and it has ended
            if _take(study, slot):
                then(study, slot)
                with ExitStack() as undo:
                    # Trial() calls the sampler, which may raise, or take so long that others take
                    # this process for dead.
                    undo.callback(liveness.leave, study, _optuna.id_of(slot))
                    trial = Trial(study, _optuna.id_of(slot))
                    undo.pop_all()
                return trial
    return None


def _take(study: optuna.Study, slot: FrozenTrial) -> bool:
    """Set a WAITING trial to RUNNING and sign it; return False if another worker has it.

    Raises:
        UpdateFinishedTrialError: Another worker took it, and it has ended.
    """
    storage, trial_id = _optuna.storage_of(study), _optuna.id_of(slot)
    if TrialRecord(slot).slot is None:  # the user's own study.enqueue_trial() made it
        storage.set_trial_system_attr(trial_id, TrialRecord.slot, liveness.machine())
    if not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
        return False
    # Signed before the sampler draws, which may take long: an unsigned trial gets no beats, and
    # other processes cannot tell which process to look for.
    liveness.sign(study, trial_id)
    return True
