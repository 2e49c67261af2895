"""Seeds: each trial has one of its own, derived from the search's seed and the trial's number."""

from __future__ import annotations

import numpy as np
from optuna.trial import BaseTrial, FrozenTrial

from kerastune_optuna._study import record


def derive(seed: int | None, *path: int) -> int:
    """Return a seed of 31 bits that is fixed by the search's seed and a path of numbers.

    Children of one seed are independent streams, as `numpy.random.SeedSequence` makes them from its
    entropy and spawn key; with seed=None each call gives another seed.
    """
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1)
    return int(state[0] >> 1)


def seed_of(trial: BaseTrial | FrozenTrial, seed: int | None, training: int = 0) -> int:
    """Return the seed of a trial, or of a further one of its trainings.

    It is the recorded one, or else the one that is derived from the seed of the search.
    """
    if training:
        return int(trial.user_attrs[record.SEEDS][training])
    recorded: int | None = trial.user_attrs.get(record.SEED)
    return derive(seed, trial.number) if recorded is None else recorded
