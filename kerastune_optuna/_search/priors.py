"""Where the user expects the best configuration: a density over some parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.stats import rankdata

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._search.box import Box, Points
from kerastune_optuna._search.process import Floats

# By how sure the user is: the standard deviation of a number, as a share of its range, and how
# likely another value of a category is beside the expected one.
_SPREADS = {"high": 0.1, "medium": 0.2, "low": 0.4}
_OTHERS = {"high": 0.1, "medium": 0.25, "low": 0.5}
_FLOOR = 0.05  # of the density at the expected value: what lies far from it stays possible
_FEWEST = 4  # trials from which it is judged whether a prior holds
_STRENGTH = 10.0  # trials after which a prior counts as much as one trial, as in PiBO
_INSTEAD = (
    'Pass a dict like {"learning_rate": 1e-3}, or {"learning_rate": (1e-3, "high")} with one of '
    f"{', '.join(map(repr, _SPREADS))}."
)


class Prior(NamedTuple):
    """Hold the value that the user expects of a parameter, and how sure the user is."""

    value: Any
    sureness: str = "medium"


@dataclass(frozen=True)
class Priors:
    """Weigh configurations by what the user expects, the less the more trials there are.

    See Hvarfner and others, PiBO: Augmenting Acquisition Functions with User Beliefs (2022).

    Args:
        each: The prior of each parameter that has one, by name. Default none.
    """

    each: Mapping[str, Prior] = field(default_factory=dict)

    @classmethod
    def of(cls, given: object) -> Priors:
        """Return the priors that the user has passed.

        Raises:
            ArgumentError: Says what to pass instead.
        """
        if given is None:
            return cls()
        if not isinstance(given, Mapping) or not all(isinstance(one, str) for one in given):
            raise ArgumentTypeError(f"priors={given!r} names no parameters. {_INSTEAD}")
        return cls({name: _parsed(name, one) for name, one in given.items()})

    @property
    def values(self) -> dict[str, Any]:
        """The expected values by the names of their parameters."""
        return {name: one.value for name, one in self.each.items()}

    def hold(self, box: Box, points: Points, scores: Floats) -> bool:
        """Whether trials that lie near to what is expected are better than the others so far.

        A wrong prior would otherwise cost as many trials as a right one saves.

        Args:
            box: The configurations.
            points: Those of the trials that have ended.
            scores: What they came to, of which more is better.
        """
        near = self._logarithm(box, points)
        if len(scores) < _FEWEST or np.ptp(near) == 0 or np.ptp(scores) == 0:
            return True
        return bool(np.corrcoef(rankdata(near), rankdata(scores))[0, 1] > 0)

    def weight(self, box: Box, points: Points, trials: int) -> Floats:
        """Return what to add to the logarithm of the improvement at some points.

        Args:
            box: The configurations.
            points: Some of them.
            trials: How many trials have ended.
        """
        return self._logarithm(box, points) * _STRENGTH / max(trials, 1)

    def _logarithm(self, box: Box, points: Points) -> Floats:
        """Return the logarithm of the density at some points."""
        total = np.zeros(len(points.places))
        for column, name in enumerate(box.names):
            if (prior := self.each.get(name)) is not None:
                center = box.points([{name: prior.value}]).places[0, column]
                density = self._density(box, points.places[:, column], column, center, prior)
                total += np.where(points.asked[:, column], np.log(density), 0.0)
        return total

    def _density(
        self, box: Box, places: Floats, column: int, center: float, prior: Prior
    ) -> Floats:
        if box.is_category[column]:
            return np.where(places == center, 1.0, _OTHERS[prior.sureness])
        far = (places - center) / _SPREADS[prior.sureness]
        return _FLOOR + (1 - _FLOOR) * np.exp(-far * far / 2)

    def drawn(
        self, name: str, range_: BaseDistribution, rng: np.random.Generator, *, exact: bool
    ) -> Any:
        """Return a value for a parameter that has a prior.

        Args:
            name: The parameter.
            range_: Its range.
            rng: Draws the value.
            exact: Whether it is the expected value itself.
        """
        value, sureness = self.each[name]
        if not _check.allows(range_, value):
            told = f"priors= has {value!r} for {name!r}, which {range_} does not allow."
            if isinstance(range_, CategoricalDistribution) or not _is_number(value):
                raise ArgumentError(f"{told} Pass a value that it allows.")
            _check.warn(f"{told} The nearest one counts.")  # the range may depend on the trial
            value = min(max(value, range_.low), range_.high)  # type: ignore[attr-defined] # numbers
        elif exact:
            return value
        if isinstance(range_, CategoricalDistribution):
            keeps = rng.random() > _OTHERS[sureness]
            return value if keeps else rng.choice(np.array(range_.choices, object))
        box = Box({name: range_})
        center = box.points([{name: value}]).places[0, 0]
        place = center if exact else math.inf
        while not 0 <= place <= 1:
            place = rng.normal(center, _SPREADS[sureness])
        return box.params(box.settled(np.array([[place]])).rows(0))[name]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not math.isnan(value)


def _parsed(name: str, given: Any) -> Prior:
    pair = given if isinstance(given, tuple | list) else (given,)
    if not 1 <= len(pair) <= 2:
        raise ArgumentTypeError(f"priors= has {given!r} for {name!r}. {_INSTEAD}")
    prior = Prior(*pair)
    if prior.sureness not in _SPREADS:
        near = _check.nearest(str(prior.sureness), _SPREADS)
        raise ArgumentError(f"priors= has {prior.sureness!r} for {name!r}.{near} {_INSTEAD}")
    return prior
