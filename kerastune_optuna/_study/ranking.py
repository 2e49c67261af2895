"""The ranking of trials: models, tables, the display and the command line all use this order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna._study.objectives import Objective, directions_of, sign_of
from kerastune_optuna._study.record import TrialRecord


@dataclass(frozen=True)
class Ranking:
    """Compare trials: `by` one objective, or by all of them and by their constraints.

    Args:
        directions: "minimize" or "maximize" for each objective.
    """

    directions: Sequence[str]

    @classmethod
    def front(cls, study: optuna.Study) -> list[FrozenTrial]:
        """Return the trials that no other trial dominates, ordered by number."""
        trials = study.get_trials(deepcopy=False)  # Study.best_trials would copy all of them first
        return cls(directions_of(study)).first(trials)

    @staticmethod
    def by(
        objective: Objective, trials: Iterable[FrozenTrial], n: int | None = None
    ) -> list[FrozenTrial]:
        """Return the trials that may be the best by one objective, or the best `n`, best first.

        A trial that took over the result of another one is none of them: its model is that of the
        other.
        """
        own = [trial for trial in trials if TrialRecord(trial).ending.may_be_best]
        return heapq.nsmallest(
            len(own) if n is None else n,
            own,
            key=lambda trial: (objective.cost(objective.value_of(trial)), trial.number),
        )

    def first(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials of rank 1; with thousands of trials, the ranks of all take seconds."""
        own = [trial for trial in trials if TrialRecord(trial).ending.may_be_best]
        if len(self.directions) > 1:
            least = min(map(_excess, own), default=0.0)
            own = [trial for trial in own if _excess(trial) == least]
            if least > 0:
                return own
        costs = self._costs([one.values for one in own])
        if len(self.directions) == 1:
            return [own[place] for place in np.argsort(costs[:, 0], kind="stable")[:1]]
        return [one for one, cost in zip(own, costs, strict=True) if not _is_dominated(cost, costs)]

    def ranks(self, trials: Iterable[FrozenTrial]) -> dict[int, int]:
        """Return the ranks of the trials that may be the best, by trial number; the best has 1.

        With one objective, the earlier of two equal trials leads, so all ranks differ. With
        several, trials that no other trial dominates have rank 1, trials that only those dominate
        have rank 2, and so on. Trials that break a constraint come last, ordered by how much they
        break it.

        Args:
            trials: Some trials of a study, ordered by number.
        """
        own = [trial for trial in trials if TrialRecord(trial).ending.may_be_best]
        costs = self._costs([one.values for one in own])
        if len(self.directions) == 1:
            order = np.argsort(costs[:, 0], kind="stable")
            return {own[place].number: rank for rank, place in enumerate(order, start=1)}
        excess = np.array([_excess(trial) for trial in own])
        found = np.zeros(len(own), int)
        left, last = np.flatnonzero(excess == 0), 0
        while left.size:  # a front, then the front of all others, and so on
            last += 1
            front = [place for place in left if not _is_dominated(costs[place], costs[left])]
            found[front] = last
            left = left[found[left] == 0]
        broken = np.flatnonzero(excess > 0)
        found[broken] = last + 1 + np.unique(excess[broken], return_inverse=True)[1]
        return {one.number: int(rank) for one, rank in zip(own, found, strict=True)}

    def _costs(self, values: Sequence[Sequence[float]]) -> np.ndarray:
        """Return the values of some trials as rows of costs, for which less is better."""
        signs = np.array([sign_of(one) for one in self.directions])
        costs: np.ndarray = np.array(values, float).reshape(-1, len(signs)) * signs
        return costs


def _is_dominated(costs: np.ndarray, others: np.ndarray) -> bool:
    """Whether one of the others is better in one objective and worse in none."""
    return bool(np.any(np.all(others <= costs, axis=1) & np.any(others < costs, axis=1)))


def _excess(trial: FrozenTrial) -> float:
    """Return by how much a trial breaks its constraints, as Optuna's own ranking counts."""
    return float(sum(value for value in trial.constraints.values() if value > 0))
