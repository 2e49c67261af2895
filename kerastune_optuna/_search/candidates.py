"""The configuration that gains most by a process: looked for at random, then near to these."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.distance import cdist

from kerastune_optuna._search.box import Box, Points
from kerastune_optuna._search.priors import Priors
from kerastune_optuna._search.process import Floats, Process

_AT_RANDOM = 1024  # configurations that are looked at first
_BEST, _NEAR_BEST = 5, 50  # of the trials, and configurations near each
_WIDTHS = (0.1, 0.04)  # of the ranges: how far others are from those that gain most, twice
_SAME = 1e-3  # of each range: configurations that are nearer are one
_NEVER = 1e6  # below the logarithms of all gains
_TOP, _NEAR_TOP = 8, 32  # of those that gain most, and near each
_CLIMB = 4  # of these, and of those at random: from each the slope is followed


@dataclass(frozen=True)
class Candidates:
    """Look for the configuration that gains most.

    Args:
        box: The configurations.
        process: What is expected of them.
        known: Those that were tried, or are.
        rng: Draws where to look.
        priors: Where the user expects the best one. Default: nowhere.
        trials: How many trials have ended, for the weight of the priors.
    """

    box: Box
    process: Process
    known: Points
    rng: np.random.Generator
    priors: Priors = field(default_factory=Priors)
    trials: int = 0

    def best(self) -> Points:
        """Return the configuration that gains most, and that was not tried unless all were."""
        return self._top(self._refined(self._climbed(self._begun()))).rows(0)

    def _gains(self, points: Points) -> Floats:
        """Return the logarithm of what is gained; what was tried gains nothing."""
        # Else it may gain most, where the process takes the values for noisy.
        was_tried = cdist(points.places, self.known.places, "chebyshev").min(axis=1) < _SAME
        gains = self.process.gains(self.box.features(points)) - _NEVER * was_tried
        if self.priors.each:
            gains += self.priors.weight(self.box, points, self.trials)
        return np.asarray(gains)

    def _top(self, points: Points) -> Points:
        return points.rows(np.argsort(-self._gains(points))[:_TOP])

    def _begun(self) -> Points:
        """Return what gains most of configurations at random, and near good trials and near these.

        The first ones lie apart: from the others alone, the slope often leads to one place.
        """
        good = self.known.rows(np.argsort(-self.process.outcomes.mean(axis=1))[:_BEST])
        at_random = self._top(self.box.drawn(_AT_RANDOM, self.rng))
        points = at_random.and_those(self.box.near(good, _NEAR_BEST, _WIDTHS[0], self.rng))
        for width in _WIDTHS:
            top = self._top(points)
            points = top.and_those(self.box.near(top, _NEAR_TOP, width, self.rng))
        return self._top(points).rows(slice(_CLIMB)).and_those(at_random.rows(slice(_CLIMB)))

    def _climbed(self, top: Points) -> Points:
        """Return some configurations, and those to which the slope of the gain leads from them."""
        box, features = self.box, self.box.features(top)
        moves = np.zeros(features.shape, bool)
        moves[:, : len(box.names)] = top.asked & ~box.is_category
        climbed = self.process.climbed(features, moves)[:, : len(box.names)]
        return top.and_those(box.settled(np.where(box.is_category, top.places, climbed)))

    def _refined(self, points: Points) -> Points:
        """Return some configurations, and those that differ from the best of them in one choice."""
        for _ in range(2):
            best = self._top(points).rows(0)
            points = self.box.alternatives(best, self.rng).and_those(points)
        return points
