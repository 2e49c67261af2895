"""The objectives of a search: metrics in the epoch logs, and measures of a whole trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._study.monitor import Direction, Objective, directions_of, parse_objective
from kerastune_optuna._study.record import TrialRecord

_OF_KERAS_TUNER = {"min": "minimize", "max": "maximize"}  # directions of its Objectives
_SIZES = (TrialRecord.n_params, TrialRecord.flops)  # known before a model is trained
# Measures of a trial as a whole, for which less is better.
MEASURED = (*_SIZES, TrialRecord.seconds, "inference_ms")


@dataclass(frozen=True)
class Objectives:
    """Hold the objectives of a search, in the order of their values in the study."""

    each: tuple[Objective, ...]

    @classmethod
    def of(cls, study: optuna.Study) -> Objectives:
        """Return the objectives of any study, which may have other names than a search allows."""
        ways = directions_of(study)
        names = study.metric_names or ["value"] * len(ways)
        if len(set(names)) < len(names):
            names = [f"{name} {place}" for place, name in enumerate(names)]
        pairs = zip(names, ways, strict=True)
        return cls(tuple(Objective(*pair, place) for place, pair in enumerate(pairs)))

    @property
    def are_several(self) -> bool:
        """Whether there are several, so that there is a front instead of one best trial."""
        return len(self.each) > 1

    @property
    def metrics(self) -> list[Objective]:
        """The objectives that are metrics in the epoch logs."""
        if not self.are_several:  # a single objective is a metric, whatever its name
            return list(self.each)
        return [one for one in self.each if one.name not in MEASURED]

    @property
    def watched(self) -> Objective:
        """The first metric, which decides on the best epoch and on pruning."""
        return (self.metrics or self.each)[0]  # a study that no search made may have no metric

    @property
    def others(self) -> list[Objective]:
        """All objectives but the watched one."""
        return [one for one in self.each if one != self.watched]

    @property
    def names(self) -> list[str]:
        """The names of the objectives."""
        return [one.name for one in self.each]

    @property
    def directions(self) -> list[Direction]:
        """The directions of the objectives."""
        return [one.direction for one in self.each]

    @property
    def aim(self) -> str:
        """The aim of the search, like `maximize val_accuracy`."""
        return ", ".join(one.aim for one in self.each)

    @property
    def sizes(self) -> list[str]:
        """The objectives that are sizes of a model: n_params, flops, both or neither."""
        return [name for name in _SIZES if self.are_several and name in self.names]


def parse_objectives(names: object, directions: object) -> Objectives:
    """Check the user's objectives and directions, and infer "auto".

    Raises:
        ArgumentError: They cannot work; the message says what to pass instead.
    """
    names, directions = _without_keras_tuners(names, directions)
    if not isinstance(names, list | tuple):
        _check_has_metric([names])
        return Objectives((parse_objective(names, directions),))
    if not names:
        raise ArgumentError(f'objective={names!r} is empty. Pass a name like "val_accuracy".')
    pairs = zip(names, _one_for_each(names, directions), strict=True)
    parsed = [_parse(name, direction) for name, direction in pairs]
    _check_differ(names)
    _check_has_metric(names)
    return Objectives(tuple(replace(one, place=place) for place, one in enumerate(parsed)))


def _without_keras_tuners(names: Any, directions: object) -> tuple[Any, Any]:
    """Return names and directions, after replacing Objectives of KerasTuner by their name.

    Raises:
        ArgumentError: A direction was given in addition to an Objective.
    """
    are_several = isinstance(names, list | tuple)
    given = list(names) if are_several else [names]
    if not any(map(_is_of_keras_tuner, given)):
        return names, directions
    if directions != "auto":
        raise ArgumentError(
            f"direction={directions!r} was passed with an Objective, which has its own direction. "
            "Leave direction= out."
        )
    ways = [_direction_of(one) if _is_of_keras_tuner(one) else "auto" for one in given]
    plain = [one.name if _is_of_keras_tuner(one) else one for one in given]
    return (plain, ways) if are_several else (plain[0], ways[0])


def _is_of_keras_tuner(one: Any) -> bool:
    return hasattr(one, "name") and hasattr(one, "direction")


def _direction_of(one: Any) -> str:
    if one.direction not in _OF_KERAS_TUNER:
        raise ArgumentError(
            f"objective= has the direction {one.direction!r} for {one.name!r}. Pass an Objective "
            'with "min" or "max".'
        )
    return _OF_KERAS_TUNER[one.direction]


def _one_for_each(names: Sequence[Any], directions: object) -> Sequence[object]:
    """Return a direction for each name."""
    if directions == "auto" or (isinstance(directions, str) and len(names) == 1):
        return [directions] * len(names)
    if not isinstance(directions, list | tuple) or len(directions) != len(names):
        raise ArgumentError(
            f"direction={directions!r} does not match {len(names)} objectives. Pass a list with "
            'one of "auto", "minimize" and "maximize" for each, or "auto".'
        )
    return directions


def _parse(name: object, direction: object) -> Objective:
    if name not in MEASURED:
        try:
            return parse_objective(name, direction)
        except ArgumentError as error:
            raise type(error)(f"{error}{_check.nearest(str(name), MEASURED, 0.8)}") from None
    if direction == "maximize":
        raise ArgumentError(
            f'direction="maximize" is wrong for {name!r}: less is better. Pass "minimize" or '
            '"auto" for it.'
        )
    return parse_objective(name, "minimize" if direction == "auto" else direction)


def _check_differ(names: Sequence[Any]) -> None:
    twice = sorted({str(name) for name in names if list(names).count(name) > 1})
    if twice:
        raise ArgumentError(f"objective= names {', '.join(twice)} twice. Pass each name once.")


def _check_has_metric(names: Sequence[Any]) -> None:
    """Refuse objectives that a model could reach without learning anything."""
    if all(name in MEASURED for name in names):
        listed = ", ".join(map(str, names))
        raise ArgumentError(
            f"objective={listed} says nothing about what a model has learned. Pass it together "
            f'with a metric from the epoch logs, like ["val_accuracy", "{names[0]}"].'
        )
