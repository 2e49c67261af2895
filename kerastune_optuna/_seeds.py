"""Seeds: each trial has one of its own, derived from the search's seed and the trial's number."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import keras
import numpy as np

if TYPE_CHECKING:
    from optuna.trial import BaseTrial, FrozenTrial


def derive(seed: int | None, *path: int) -> int:
    """Return a seed of 31 bits that is fixed by the search's seed and a path of numbers.

    Children of one seed are independent streams, as `numpy.random.SeedSequence` makes them from its
    entropy and spawn key; with seed=None each call gives another.
    """
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1)
    return int(state[0] >> 1)


def seed_of(trial: BaseTrial | FrozenTrial, seed: int | None, training: int = 0) -> int:
    """Return the seed of a trial, or of a further one of its trainings.

    It is what is recorded, else what follows from that of the search.
    """
    if training:
        return int(trial.user_attrs["seeds"][training])
    recorded: int | None = trial.user_attrs.get("seed")
    return derive(seed, trial.number) if recorded is None else recorded


def set_all(seed: int) -> None:
    """Start the generators of Python, NumPy, Keras and PyTorch from one seed."""
    keras.utils.set_random_seed(seed)
    # Keras leaves PyTorch's alone under other backends, which take its DataLoaders too.
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put back what reading data draws from: each pass over a DataLoader takes a number."""
    state, of_numpy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    of_torch = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(of_numpy)
        if torch is not None:
            torch.set_rng_state(of_torch)
