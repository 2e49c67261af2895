"""A sampler's wait for workers that began before: it draws otherwise once it knows what they do."""

from __future__ import annotations

import time
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna, _signals

_PATIENCE = 30.0  # seconds after which a worker may be dead
_POLL = 0.02  # seconds between two looks at it


class Wait:
    """Wait until trials of ours that began before have what a sampler needs to know of them.

    Args:
        lacking: Returns the trials of a study that do not have it yet.
    """

    def __init__(self, lacking: Callable[[optuna.Study], list[FrozenTrial]]) -> None:
        self._lacking = lacking
        self._given_up: set[int] = set()  # ids of trials that were waited for in vain

    def before(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Wait for the trials before one, and read the trials of the study again."""
        gives_up = time.monotonic() + _PATIENCE
        while True:
            earlier = (one for one in self._lacking(study) if one.number < trial.number)
            others = {_optuna.id_of(one) for one in earlier}
            if not (others := others - self._given_up) or _signals.requested():
                return
            if time.monotonic() > gives_up:
                self._given_up |= others
                return
            time.sleep(_POLL)
            _optuna.known_trials(study, anew=True)  # at first, the claim has just read them
