"""By which metrics a KerasTuner project was searched, which KerasTuner writes down nowhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from kerastune_optuna._exceptions import ArgumentError, NoTrialsError
from kerastune_optuna._keras_tuner.files import Notes, Written
from kerastune_optuna._study import Objectives, parse_objectives

_SUM = "multi_objective"  # what KerasTuner calls the sum of several objectives
_MOST = 9  # metrics of which any sum is looked for: each is added, subtracted, or left out
_OPTION = "Pass --objective with the one that its tuner had."


def find(
    project: Path, trials: Sequence[Written], wanted: Sequence[str], notes: Notes
) -> Objectives:
    """Return the objectives of a project: the score of each trial is their best value, or sum.

    Args:
        project: The folder of the project, for errors.
        trials: What it says of its trials.
        wanted: The names that the user gave, if any.
        notes: What could not be read.

    Raises:
        ArgumentError: The objectives are not certain.
        NoTrialsError: No trial is completed.
    """
    complete = [trial for trial in trials if trial.is_complete]
    if not complete:
        why = " ".join(["", *notes.lines])
        raise NoTrialsError(
            f"{str(project)!r} has no completed trial, and nothing to learn from.{why}"
        )
    told = [trial for trial in complete if trial.metrics]
    if told and all(_SUM in trial.metrics for trial in told):
        return _several(project, told, wanted)
    return _single(project, told, wanted)


def _single(project: Path, told: Sequence[Written], wanted: Sequence[str]) -> Objectives:
    if len(wanted) > 1:
        raise ArgumentError(
            f"{str(project)!r} has one objective, and --objective came {len(wanted)} times. "
            f"{_OPTION}"
        )
    if wanted and not told:
        return parse_objectives(wanted[0], "auto")
    names = list(told[0].metrics) if told else []
    directions = {name: is_max for name in names for is_max in _directions_if_scored(name, told)}
    scored = list(directions)
    name = scored[0] if len(scored) == 1 and not wanted else next(iter(wanted), None)
    if name is None or name not in scored:
        came = "could be any of" if name is None else f"is not {name!r}, but one of"
        raise ArgumentError(
            f"The objective of {str(project)!r} {came}: {', '.join(scored) or 'none'}. {_OPTION}"
        )
    return parse_objectives(name, "maximize" if directions[name] else "minimize")


def _directions_if_scored(name: str, trials: Sequence[Written]) -> list[bool]:
    """Return, for each trial that has values of a metric, whether it is maximized.

    The list is empty where the best value of the metric is not the score of each trial.
    """
    metrics = [(trial.metrics.get(name), trial.score) for trial in trials]
    readable = [(one, score) for one, score in metrics if one is None or one.values]
    is_scored = all(one is not None and _are_same(one.best, score) for one, score in readable)
    return [one.is_max for one, _ in readable if one is not None] if is_scored else []


def _are_same(best: float | None, score: float | None) -> bool:
    return best is not None and score is not None and math.isclose(best, score)


def _several(project: Path, told: Sequence[Written], wanted: Sequence[str]) -> Objectives:
    """Return the objectives whose sum KerasTuner minimized."""
    names = [name for name in told[0].metrics if name != _SUM and _is_everywhere(name, told)]
    if unknown := [name for name in wanted if name not in names]:
        raise ArgumentError(
            f"{str(project)!r} has no metric {', '.join(unknown)}, but: {', '.join(names)}."
        )
    sums = list(_sums(told, list(wanted) or names)) if len(wanted or names) <= _MOST else []
    found = [one for one in sums if not wanted or len(one) == len(wanted)]
    if len(found) != 1:
        could = "; ".join(" and ".join(one) for one in found) or "none that can be told"
        raise ArgumentError(
            f"{str(project)!r} has several objectives, which could be: {could}. Pass --objective "
            f"once for each that its tuner had, out of: {', '.join(names)}."
        )
    (signs,) = found
    directions = ["minimize" if sign > 0 else "maximize" for sign in signs.values()]
    return parse_objectives(list(signs), directions)


def _is_everywhere(name: str, trials: Sequence[Written]) -> bool:
    return all(values_at_best(trial, [name]) is not None for trial in trials)


def values_at_best(trial: Written, names: Sequence[str]) -> list[float] | None:
    """Return the values of metrics at the best epoch of a trial; None where one is not known."""
    metrics = [trial.metrics[name] for name in names if name in trial.metrics]
    known = [value for one in metrics if (value := one.at(trial.best_step)) is not None]
    return known if len(known) == len(names) and all(map(math.isfinite, known)) else None


def _sums(trials: Sequence[Written], names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Yield which metrics, added or subtracted, sum up to the score of each trial."""
    rows = [(values_at_best(trial, names) or [], trial.score or 0.0) for trial in trials]
    for signs in product((0, 1, -1), repeat=len(names)):
        if sum(map(abs, signs)) > 1 and all(_sums_up(signs, *row) for row in rows):
            yield {name: sign for name, sign in zip(names, signs, strict=True) if sign}


def _sums_up(signs: Sequence[int], values: Sequence[float], score: float) -> bool:
    total = math.fsum(sign * value for sign, value in zip(signs, values, strict=True))
    return math.isclose(total, score, rel_tol=1e-9, abs_tol=1e-9)
