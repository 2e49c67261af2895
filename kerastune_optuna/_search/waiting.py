"""A sampler's wait for workers that began before: its draw depends on what they do."""

from __future__ import annotations

import time
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna, _signals

_PATIENCE = 30.0  # seconds after which a worker may be dead
_POLL = 0.02  # seconds between two looks at it


def wait_for_earlier(
    study: optuna.Study,
    trial: FrozenTrial,
    lacking: Callable[[optuna.Study], list[FrozenTrial]],
    in_vain: set[int],
) -> None:
    """Wait until our trials that began before this one have what a sampler needs to know of them.

    Args:
        study: The study, whose trials are read again meanwhile.
        trial: The trial that the sampler draws for.
        lacking: Returns the trials of a study that lack this.
        in_vain: The ids of trials that the sampler waited for in vain; new ones are added.
    """
    gives_up = time.monotonic() + _PATIENCE
    while True:
        earlier = (one for one in lacking(study) if one.number < trial.number)
        others = {_optuna.id_of(one) for one in earlier} - in_vain
        if not others or _signals.requested():
            return
        if time.monotonic() > gives_up:
            in_vain.update(others)
            return
        time.sleep(_POLL)
        _optuna.known_trials(study, anew=True)  # at first, the claim has just read them
