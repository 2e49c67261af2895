"""The slots of a study: the trials that count towards its size, and those that may be taken.

A WAITING slot is free, and the worker that sets it to RUNNING has it: Optuna's storages let one
worker alone do so.
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
    """Return the trials that count towards the size of the study, by their numbers."""
    trials = _optuna.known_trials(study, anew=True)
    idle = retry.idle_retries(trials)
    return [one for one in trials if counts(one) and one.number not in idle]


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards the size of the study.

    What other code runs does so once it has ended, since its process may be gone.
    """
    if trial.state is TrialState.RUNNING:
        return not liveness.is_foreign(trial)
    return trial.state is not TrialState.FAIL


def free(slots: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the slots that may be taken, in the order in which workers are to take them."""
    waiting = (one for one in slots if one.state is TrialState.WAITING)
    return sorted(waiting, key=is_enqueued, reverse=True)


def is_enqueued(trial: FrozenTrial) -> bool:
    """Whether the user chose parameters of a WAITING trial, or a worker before had drawn them."""
    return bool(TrialRecord(trial).fixed_params)


def has_asked(trial: FrozenTrial) -> bool:
    """Whether a trial's builder has asked for parameters, or for none."""
    return bool(trial.params) or trial.state.is_finished()


def take_one(
    study: optuna.Study,
    free: Sequence[FrozenTrial],
    then: Callable[[optuna.Study, FrozenTrial], object],
) -> Trial | None:
    """Set one of the free slots to RUNNING; None where other workers were first.

    Args:
        study: The study.
        free: Its free slots.
        then: Called with the slot before its sampler draws, which may take long.
    """
    for slot in free:
        with suppress(UpdateFinishedTrialError):  # another worker has had it, and it has ended
            if _take(study, slot):
                then(study, slot)
                return _begin(study, _optuna.id_of(slot))
    return None


def _take(study: optuna.Study, slot: FrozenTrial) -> bool:
    """Set a WAITING trial to RUNNING and sign it; False where another worker has it.

    Raises:
        UpdateFinishedTrialError: Another worker has had it, and it has ended.
    """
    storage, trial_id = _optuna.storage_of(study), _optuna.id_of(slot)
    if TrialRecord(slot).slot is None:  # the user's own study.enqueue_trial() made it
        storage.set_trial_system_attr(trial_id, TrialRecord.slot, liveness.machine())
    if not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
        return False
    # Before the sampler draws, which may take long: a trial that nobody has signed gets no beats,
    # and does not tell others which process to look for.
    liveness.sign(study, trial_id)
    return True


def _begin(study: optuna.Study, trial_id: int) -> Trial:
    """Return the running trial, for which its sampler has begun to draw."""
    with ExitStack() as undo:
        # Trial() asks the sampler, which may raise, or think for so long that others take this
        # process for dead.
        undo.callback(liveness.leave, study, trial_id)
        trial = Trial(study, trial_id)
        undo.pop_all()
    return trial
