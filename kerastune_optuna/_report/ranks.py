"""The ranks of trials on fronts: of several objectives many trials may be the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import FrozenTrial

_REPEAT_OF = "repeat_of"  # the user attr of a trial that has the result of another


def ranks_on_fronts(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> dict[int, int]:
    """Return the rank of each COMPLETE trial by its number: 1 where no other one dominates it.

    A trial that has the result of another is left out, as its model is the other's.
    """
    own = [trial for trial in trials if _REPEAT_OF not in trial.user_attrs]
    signs = [-1 if direction == "maximize" else 1 for direction in directions]
    costs = np.array([trial.values for trial in own]).reshape(-1, len(signs)) * signs
    penalty = np.array([_excess(trial) for trial in own])
    ranks = _fast_non_domination_rank(costs, penalty=penalty)
    return {one.number: int(rank) + 1 for one, rank in zip(own, ranks, strict=True)}


def _excess(trial: FrozenTrial) -> float:
    """Return by how much a trial breaks its constraints, as Optuna's own ranking counts."""
    return sum(value for value in trial.constraints.values() if value > 0)
