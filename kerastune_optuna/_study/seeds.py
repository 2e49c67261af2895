"""Seeds: each trial has its own, derived from the search's seed and the trial's number."""

from __future__ import annotations

import numpy as np


def derive(seed: int | None, *path: int) -> int:
    """Return a 31-bit seed that depends only on the search's seed and a path of numbers.

    Seeds with different paths give independent streams, since `numpy.random.SeedSequence` takes the
    seed as its entropy and the path as its spawn key. With seed=None, each call returns another
    seed.
    """
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1)
    return int(state[0] >> 1)
