"""Let one worker take a WAITING trial, also where the storage lets two set it to RUNNING."""

from __future__ import annotations

import time
from uuid import uuid4

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._storage import database
from kerastune_optuna._study.liveness import machine, sign
from kerastune_optuna._study.record import TrialRecord

_POLL = 0.05  # seconds between two looks at what the others saw
_PATIENCE = 10.0  # seconds in which a worker that lives has written down what it saw


def take(study: optuna.Study, slot: FrozenTrial) -> bool:
    """Set a WAITING trial to RUNNING and sign it; False where another worker has it.

    Raises:
        UpdateFinishedTrialError: Another worker has had it, and it has ended.
    """
    storage, trial_id = _optuna.storage_of(study), _optuna.id_of(slot)
    is_given_to_one = database.gives_to_one(storage)
    if not is_given_to_one and (TrialRecord(slot).is_claimed or not _is_elected(storage, trial_id)):
        return False
    if TrialRecord(slot).slot is None:  # the user's own study.enqueue_trial() made it
        storage.set_trial_system_attr(trial_id, TrialRecord.slot, machine())
    if not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
        return False
    # Before the sampler draws, which may take long: a trial that nobody has signed gets no beats,
    # and does not tell others which process to look for.
    sign(study, trial_id)
    return True


def _is_elected(storage: BaseStorage, trial_id: int) -> bool:
    """Whether this worker may set a trial to RUNNING, of all that claim it at once.

    Each worker writes its claim, then reads all claims, and writes down which ones it saw. Claims
    are only added, so of two such sets one holds the other, and all workers that read the smallest
    set agree on it. The worker of the first claim in that set takes the trial. A worker that saw
    only itself has the smallest set, and waits for nobody. Any other waits until each worker that
    it saw has written down its set: the smallest is among these, since each worker saw itself. No
    clock decides. A worker that waits in vain gives up, and at worst nobody takes the trial, as if
    its worker had died.
    """
    own = uuid4().hex
    storage.set_trial_system_attr(trial_id, TrialRecord.CLAIM + own, [])
    seen = sorted(_claims(storage.get_trial(trial_id)))
    if seen == [own]:
        return True
    storage.set_trial_system_attr(trial_id, TrialRecord.CLAIM + own, seen)
    gives_up = time.monotonic() + _PATIENCE
    while time.monotonic() < gives_up:
        trial = storage.get_trial(trial_id)
        if trial.state is not TrialState.WAITING:
            return False  # a worker that saw only itself took it, and wrote no set
        claims = _claims(trial)
        if all(claims[one] for one in seen):
            return min((claims[one] for one in seen), key=len)[0] == own
        time.sleep(_POLL)
    return False


def _claims(trial: FrozenTrial) -> dict[str, list[str]]:
    """Return for each claim on a trial the claims that its worker saw; [] until it wrote them."""
    begin, attrs = TrialRecord.CLAIM, trial.system_attrs.items()
    return {key.removeprefix(begin): seen for key, seen in attrs if key.startswith(begin)}
