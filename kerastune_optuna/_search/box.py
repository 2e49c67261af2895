"""The parameters of trials, which may differ, as coordinates of a Gaussian process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from kerastune_optuna._search.process import Floats

Flags = NDArray[np.bool_]

# If a number has at most so many values, we try each, and other parameters may depend on it.
_MOST_LEVELS = 16


class Points(NamedTuple):
    """Hold configurations, one a row, with a column for each parameter.

    Args:
        places: A number lies in [0, 1], and a category at its index. If it is not asked for, a
            number lies at 0.5, and a category at -1.
        asked: Whether the parameter is asked for.
    """

    places: Floats
    asked: Flags

    def rows(self, which: Any) -> Points:
        """Return some of the configurations, chosen by the first index of an array."""
        return Points(self.places[which], self.asked[which])

    def and_those(self, others: Points) -> Points:
        """Return these configurations, followed by others."""
        pairs = zip(self, others, strict=True)
        return Points(*(np.concatenate(pair) for pair in pairs))


class Box:
    """Turn parameters into coordinates and back, and make configurations that a builder asks for.

    Args:
        space: The parameters in the order in which builders ask for them; `space.in_order` returns
            them.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.names, self._axes = list(space), [_Axis(one) for one in space.values()]
        self.is_category = np.array([one.is_category for one in self._axes])
        self.levels = [one.levels for one in self._axes]
        self._extent = np.where(self.is_category, self.levels, 1.0)  # the length of each coordinate
        # The column of the parameter that each coordinate belongs to.
        every = np.arange(len(self.names))
        sizes = [level + 1 for level in np.array(self.levels)[self.is_category]]
        self.groups = np.concatenate([every, np.repeat(every[self.is_category], sizes)])
        self._conditions: dict[int, _Condition] = {}

    def points(self, configurations: Sequence[Mapping[str, Any]]) -> Points:
        """Return where configurations lie; a value out of its range lies outside of [0, 1]."""
        places = np.tile(np.where(self.is_category, -1.0, 0.5), (len(configurations), 1))
        asked = np.full(places.shape, False)
        for column, name in enumerate(self.names):
            rows = [row for row, one in enumerate(configurations) if name in one]
            values = [configurations[row][name] for row in rows]
            places[rows, column] = self._axes[column].places(values)
            asked[rows, column] = True
        return Points(places, asked)

    def features(self, points: Points) -> Floats:
        """Return coordinates, one row a configuration, by whose distances the process compares.

        The first columns are the places of numbers, one for each parameter. Any two values of a
        category are 1 apart.
        """
        numbers = np.where(self.is_category, 0.0, points.places)
        codes = [
            (points.places[:, [column]] == np.arange(-1, self.levels[column])) * math.sqrt(0.5)
            for column in np.flatnonzero(self.is_category)
        ]
        return np.hstack([numbers, *codes])

    def params(self, point: Points) -> dict[str, Any]:
        """Return the parameters of a configuration."""
        columns = np.flatnonzero(point.asked)
        return {
            self.names[column]: self._axes[column].value(point.places[column]) for column in columns
        }

    def learn_conditions(self, points: Points) -> None:
        """Learn from trials which parameters depend on the values of others."""
        for column in map(int, np.flatnonzero(~points.asked.all(axis=0))):
            if (found := self._condition(points, column)) is not None:
                self._conditions[column] = found

    def _condition(self, points: Points, column: int) -> _Condition | None:
        """Return the condition that explains in most trials why they lack a parameter.

        If several conditions explain equally many, the one wins whose other parameter had the
        fewest values, and of several such, the one whose other parameter is asked for last.
        """
        best: tuple[tuple[int, int, int], _Condition] | None = None
        for on in range(column):
            if self.levels[on]:
                codes = self._codes(points.places, points.asked, on)
                is_met = np.full(self.levels[on] + 1, True)
                seen = np.unique(codes)
                is_met[seen] = [points.asked[codes == code, column].any() for code in seen]
                explained = int((~is_met[codes]).sum())
                rank = explained, -len(seen), on
                if explained and (best is None or rank > best[0]):
                    best = rank, _Condition(on, self._completed(is_met, seen, on))
        return None if best is None else best[1]

    def _completed(self, is_met: Flags, seen: NDArray[np.int64], on: int) -> Flags:
        """Let a number's value that no trial had count as the nearest one that a trial had."""
        if not self.is_category[on] and len(numbers := seen[seen < self.levels[on]]):
            every = np.arange(self.levels[on])
            nearest = numbers[np.abs(every[:, None] - numbers).argmin(axis=1)]
            is_met[:-1] = is_met[nearest]
        return is_met

    def _codes(self, places: Floats, asked: Flags, column: int) -> NDArray[np.int64]:
        """Return the index of each value of a parameter; one past the last if it is not asked."""
        scale = 1 if self.is_category[column] else self.levels[column]
        codes = np.floor(places[:, column] * scale).clip(0, self.levels[column] - 1)
        return np.where(asked[:, column], codes, self.levels[column]).astype(int)

    def settled(self, places: Floats) -> Points:
        """Return the configurations nearest to the places, and which parameters they ask for."""
        places, asked = places.copy(), np.full(places.shape, True)
        for column, axis in enumerate(self._axes):
            places[:, column] = axis.snapped(places[:, column])
            if (condition := self._conditions.get(column)) is not None:
                codes = self._codes(places, asked, condition.on)
                asked[:, column] = condition.is_met[codes]
        return Points(np.where(asked, places, np.where(self.is_category, -1.0, 0.5)), asked)

    def drawn(self, count: int, rng: np.random.Generator) -> Points:
        """Return configurations at random."""
        return self.settled(rng.random((count, len(self.names))) * self._extent)

    def near(self, centres: Points, count: int, width: float, rng: np.random.Generator) -> Points:
        """Return configurations that differ from centres in few parameters, by about a width."""
        places = np.repeat(centres.places, count, axis=0)
        lost = np.repeat(~centres.asked, count, axis=0)  # what was not asked for has no place
        anew = rng.random(places.shape) * self._extent
        moves = rng.random(places.shape) < max(1.5 / places.shape[1], 0.3)
        moves[np.arange(len(places)), rng.integers(places.shape[1], size=len(places))] = True
        moved = places + width * rng.normal(size=places.shape)
        moved = np.where(self.is_category | lost, anew, np.clip(moved, 0, 1))
        return self.settled(np.where(moves | lost, moved, places))

    def alternatives(self, point: Points, rng: np.random.Generator) -> Points:
        """Return a configuration, and all that differ from it in one category or small range."""
        rows = [point.places]
        for column in map(int, np.flatnonzero(point.asked & np.array(self.levels, bool))):
            other = np.tile(point.places, (self.levels[column], 1))
            every = np.arange(self.levels[column])
            other[:, column] = every if self.is_category[column] else (every + 0.5) / len(every)
            rows.append(other)
        places = np.vstack(rows)
        anew = rng.random(places.shape) * self._extent
        return self.settled(np.where(point.asked, places, anew))


class _Condition(NamedTuple):
    """Say with which values of another parameter a parameter is asked for."""

    on: int  # the column of the other parameter
    is_met: Flags  # by the index of its value; last, where it is not asked for


class _Axis:
    """Turn the values of one parameter into places, and back."""

    def __init__(self, range_: BaseDistribution) -> None:
        self._range = range_
        self.is_category = isinstance(range_, CategoricalDistribution)
        if isinstance(range_, CategoricalDistribution):
            self.levels = len(range_.choices)
            return
        assert isinstance(range_, IntDistribution | FloatDistribution)  # Optuna has no others
        self._low, self._high, self._step = range_.low, range_.high, range_.step
        self._is_log, self._is_int = range_.log, isinstance(range_, IntDistribution)
        count = round((self._high - self._low) / self._step) + 1 if self._step else math.inf
        self.levels = int(count) if count <= _MOST_LEVELS and not self._is_log else 0
        # Each value of a range with steps has equal room, even at the ends of the range. On a log
        # scale, half a step below the low end would be far away.
        half = 0 if self._is_log else (self._step or 0) / 2
        self._ends = self._scaled(np.array([self._low - half, self._high + half]))

    def _scaled(self, values: Floats) -> Floats:
        return np.log(values) if self._is_log else values

    def places(self, values: Sequence[Any]) -> Floats:
        """Return where values lie."""
        if self.is_category:
            return np.array([self._range.to_internal_repr(value) for value in values])
        return self._within(np.array(values, float))

    def snapped(self, places: Floats) -> Floats:
        """Return the places of the nearest values of the range."""
        if self.is_category:
            return np.floor(places).clip(0, self.levels - 1)
        places = places.clip(0, 1)
        if not self._step:
            return places
        return self._within(self._values(places))

    def _within(self, values: Floats) -> Floats:
        """Return where values lie between the ends of the range."""
        low, high = self._ends
        return np.asarray((self._scaled(values) - low) / (high - low))

    def _values(self, places: Floats) -> Floats:
        low, high = self._ends
        values = low + places * (high - low)
        values = np.exp(values) if self._is_log else values
        if self._step:
            values = self._low + self._step * np.rint((values - self._low) / self._step)
        return np.asarray(values.clip(self._low, self._high))

    def value(self, place: float) -> Any:
        """Return the value that lies at a place."""
        if self.is_category:
            return self._range.to_external_repr(int(place))
        value = self._values(np.array([place]))[0]
        return round(value) if self._is_int else float(value)
