"""Sentences about what can be concluded from a search and what cannot, each only if it holds.

The rules are simple on purpose, and say nothing if chance alone would often have the same effect.
How often they speak without a reason is in tests/benchmarks/README.md under "Measured once".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Facts, Row
from kerastune_optuna._study import StudyRecord, TrialRecord

_FEWEST = 20  # trials: with fewer, nothing is said about the range of a parameter
_EDGE = 0.1  # the share of a range that is its edge, at each end
_BEST = 3  # the best trials, which must all lie at the edge
_BY_CHANCE = 0.005  # how often trials at an edge may seem better by chance


def hints(facts: Facts) -> list[str]:
    """Return the sentences that hold for a study; none for one with several objectives."""
    if facts.objectives.are_several or facts.best is None or not math.isfinite(facts.best.cost):
        return []
    return [*edges(facts), *ended(facts)]


def edges(facts: Facts) -> Iterator[str]:
    """Say at which end of a range the best trials lie, and which way to widen it.

    The best three trials must lie in the outer tenth, and the trials there must be better than the
    others by a rank test, since TPE samples where its first trials happened to be good. PRUNED
    trials count with their best value: the default pruner ends most of 30 trials.
    """
    valued = sorted(facts.comparable, key=lambda row: row.cost)
    for name in facts.params:
        rows = [row for row in valued if name in row.trial.params]
        if len(rows) < _FEWEST or rows[0].rank != 1:
            continue
        for which, way, end, are_there in _ends(rows, name):
            if _are_best(are_there, rows):
                yield (
                    f"The best trials lie at the {which} end of the range of {text.short(name)}, "
                    f"{text.short(end)}: let it go {way}."
                )


def _ends(rows: Sequence[Row], name: str) -> Iterator[tuple[str, str, float, list[bool]]]:
    """Yield the words for each end of a parameter's latest range, and which trials lie there."""
    latest = max(rows, key=lambda row: row.number).trial.distributions[name]
    if not isinstance(latest, FloatDistribution | IntDistribution) or latest.single():
        return
    at = math.log if latest.log else float
    low, high = at(latest.low), at(latest.high)
    places = [(at(row.trial.params[name]) - low) / (high - low) for row in rows]
    for which, way, end, are_there in (
        ("lower", "lower", latest.low, [place <= _EDGE for place in places]),
        ("upper", "higher", latest.high, [place >= 1 - _EDGE for place in places]),
    ):
        # On a linear scale, 0 and 1 are often natural limits, and a count cannot go below 1.
        may_go_on = latest.log and isinstance(latest, FloatDistribution)
        if may_go_on or end not in (0, 1):
            yield which, way, end, are_there


def _are_best(are_there: list[bool], rows: Sequence[Row]) -> bool:
    """Whether the best trials lie at the edge, and the trials there are better than the others.

    Args:
        are_there: Whether each trial is at the edge.
        rows: The trials, the best first.
    """
    if not all(are_there[:_BEST]) or all(are_there):
        return False
    from scipy.stats import mannwhitneyu  # takes a second to import

    there, costs = np.array(are_there), np.array([row.cost for row in rows])
    found = mannwhitneyu(costs[there], costs[~there], alternative="less")
    return bool(found.pvalue < _BY_CHANCE)


def ended(facts: Facts) -> Iterator[str]:
    """Say where and why the latest search stopped early."""
    match StudyRecord(facts.study).ended:  # another program may have written another list
        case [int(trials), str(why)]:
            # Of those that count towards the size of the study, another search may have added some.
            if trials == sum(TrialRecord(trial).ending.counts for trial in facts.trials):
                yield f"The search ended after {trials} trials. {why}."
