"""Seeds: each trial has one of its own, derived from the search's seed and the trial's number."""

from __future__ import annotations

import numpy as np


def derive(seed: int | None, *path: int) -> int:
    """Return a seed of 31 bits that is fixed by the search's seed and a path of numbers.

    Children of one seed are independent streams, as `numpy.random.SeedSequence` makes them from its
    entropy and spawn key; with seed=None each call gives another seed.
    """
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1)
    return int(state[0] >> 1)
