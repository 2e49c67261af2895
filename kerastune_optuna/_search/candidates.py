"""Look for the configuration from which a Gaussian process expects the largest gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from kerastune_optuna._search.box import Box, Points
from kerastune_optuna._search.process import Process

_AT_RANDOM = 1024  # configurations that are drawn at random
_BEST, _NEAR_BEST = 5, 50  # the best trials, and the configurations that are drawn near each
_TOP, _NEAR_TOP = 8, 32  # configurations with the largest gains, and those drawn near each
_CLIMB = 4  # of these, from which a climb starts, and as many of those drawn at random
_WIDTHS = (0.1, 0.04)  # shares of a range: how far from them we draw, in two rounds
_SAME = 1e-3  # share of a range: configurations that differ by less in each parameter are the same


@dataclass(frozen=True)
class Candidates:
    """Look for the configuration that gains most.

    Args:
        box: The configurations.
        process: What is expected of them.
        known: Those that were tried or are being tried.
        rng: Draws where to look.
    """

    box: Box
    process: Process
    known: Points
    rng: np.random.Generator

    def best(self) -> Points:
        """Return the configuration that gains most, and that was not tried unless all were."""
        box, begun = self.box, self._begun()
        features = box.features(begun)
        moves = np.zeros(features.shape, bool)
        moves[:, : len(box.names)] = begun.asked & ~box.is_category
        climbed = self.process.climbed(features, moves)[:, : len(box.names)]
        points = begun.and_those(box.settled(np.where(box.is_category, begun.places, climbed)))
        for _ in range(2):  # the climb changes no category, so we try to change one, then another
            best = self._top(points).rows(0)
            points = box.alternatives(best, self.rng).and_those(points)
        return self._top(points).rows(0)

    def _top(self, points: Points) -> Points:
        """Return the configurations that gain most, and those that were tried after all others."""
        gains = self.process.gains(self.box.features(points))
        # Where the process takes values for noisy, what was tried may promise the largest gain.
        was_tried = cdist(points.places, self.known.places, "chebyshev").min(axis=1) < _SAME
        return points.rows(np.lexsort((-gains, was_tried))[:_TOP])

    def _begun(self) -> Points:
        """Return the configurations from which the slope is followed.

        Half of them are the best of all that we draw: at random, near good trials, and then nearer
        and nearer to the best so far. The others are the best of those drawn at random. These lie
        apart, while the slopes from the first half often lead to one place.
        """
        good = self.known.rows(np.argsort(-self.process.outcomes.mean(axis=1))[:_BEST])
        at_random = self._top(self.box.drawn(_AT_RANDOM, self.rng))
        points = at_random.and_those(self.box.near(good, _NEAR_BEST, _WIDTHS[0], self.rng))
        for width in _WIDTHS:
            top = self._top(points)
            points = top.and_those(self.box.near(top, _NEAR_TOP, width, self.rng))
        return self._top(points).rows(slice(_CLIMB)).and_those(at_random.rows(slice(_CLIMB)))
