"""What a search can conclude and what it cannot, each in one sentence and only where it holds.

The rules are simple on purpose, and silent where chance alone would mostly do the same.
`python -m tests.benchmarks hints` counts how often they speak without a reason.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Facts, Row, curve
from kerastune_optuna._report.importances import counts, importances
from kerastune_optuna._report.scales import Scale, scale_of
from kerastune_optuna._study import beside, family, has_diverged, opening, record, value_of

_FEWEST = 20  # trials: of fewer nothing is said of the whole search
_EDGE = 0.1  # of a range: what lies further out is at its edge
_BY_CHANCE = _EDGE**3  # how often the best three trials of a random search all lie there
_BETTER = 2.6  # standard deviations by which ranks at the edge must be better: 0.5 % by chance
_NARROW = 0.5  # of a range: a best region that is wider tells nothing
_MATTERS = 0.1  # of all importance: two parameters that matter less are not compared
_TIED = 0.6  # correlation
_SAMPLES = 200  # how often trials are drawn at random, to see what chance does
_NEXT = 10  # trials that a search might have gone on for
_ROWS = re.compile(r"\S+?\((\d+)[,)]")  # how a card's text on an array begins: type and rows


def hints(facts: Facts) -> list[str]:
    """Return the sentences that hold for a study of one objective, none for one of several."""
    if facts.are_several or facts.best is None or not math.isfinite(facts.best.cost):
        return []
    rules = (edges, region, pair, ended, more, pruning, few_rows, luck)
    return [sentence for say in rules for sentence in say(facts)]


def edges(facts: Facts) -> Iterator[str]:
    """Say at which end of a range the best trials lie, and which way to widen it.

    The best three trials must lie in the outer tenth (more than three where the range has few
    values), and the trials there must be better than the others in a test of ranks: TPE goes on
    where its first trials were lucky. Where none of four parameters matters, 1 of 100 random
    studies and 2 of 100 studies of TPE get a sentence; where the best value is beyond the end, 31
    and 77 of 100 studies of 30 trials do. PRUNED trials count by the best value that they reached:
    the default pruner ends most of 30 trials.
    """
    for scale in _scales(facts, facts.params):
        rows = [row for row in _valued(facts) if scale.name in row.trial.params]
        if len(rows) < _FEWEST or rows[0].rank != 1:
            continue
        places = _places(scale, rows)
        least, most = scale.ends
        for which, way, end, at, share in (
            ("lower", "lower", scale.low, places, least),
            ("upper", "higher", scale.high, 1 - places, most),
        ):
            if _may_widen(scale, end) and _is_best(at, max(_EDGE, share)):
                yield (
                    f"The best trials lie at the {which} end of the range of "
                    f"{text.short(scale.name)}, {text.short(end)}: let it go {way}."
                )


def _may_widen(scale: Scale, end: float) -> bool:
    """Whether a range may go on: on a plain scale 0 and 1 are mostly ends by nature."""
    return end not in (0, 1) or (scale.is_log and not scale.step)


def _is_best(places: NDArray[np.float64], share: float) -> bool:
    """Whether the best trials lie in the first part of a range, and trials there are better.

    Args:
        places: Where trials lie, the best first.
        share: How large that part is.
    """
    there = places <= share * (1 + 1e-9)
    needed = math.ceil(math.log(_BY_CHANCE) / math.log(share) - 1e-9) if share < 1 else len(there)
    return bool(there[:needed].all()) and _are_better(there, _BETTER)


def _are_better(chosen: NDArray[np.bool_], by: float) -> bool:
    """Whether some trials are better than the others, by more than chance makes their ranks.

    Args:
        chosen: Whether each trial is one of them, the best trial first.
        by: By how many standard deviations.
    """
    count, inside = len(chosen), int(chosen.sum())
    spread = math.sqrt(inside * (count - inside) * (count + 1) / 12)
    return inside * (count - 1) / 2 - int(np.flatnonzero(chosen).sum()) > by * spread


def region(facts: Facts) -> Iterator[str]:
    """Say where the best quarter of the trials have the number that matters most.

    It must be narrower than 98 of 100 quarters of the trials that are drawn by chance: TPE's trials
    lie close together whether they are good or not. Where nothing matters, 1 of 100 random studies
    and 8 of 100 studies of TPE get a sentence.
    """
    rows, shares = _valued(facts), _importances(facts)
    for scale in _scales(facts, list(shares)[:1]):
        rows = [row for row in rows if scale.name in row.trial.params]
        if len(rows) < _FEWEST:
            return
        places, best = _places(scale, rows), len(rows) // 4
        low, high = np.quantile(places[:best], [0.1, 0.9])
        if high - low > min(_NARROW, _narrowest_by_chance(places, best)):
            return
        ends = [text.short(scale.value(at)) for at in (low, high, *_middles(places, best))]
        yield (
            f"{text.short(scale.name)} mattered most ({shares[scale.name]:.0%}): most of the "
            f"best quarter of {len(rows)} trials have it from {ends[0]} to {ends[1]}, with "
            f"their middle between {ends[2]} and {ends[3]} (90 % by bootstrap)."
        )


def _narrowest_by_chance(places: NDArray[np.float64], count: int) -> float:
    """Return how wide the region of so many trials is in 2 of 100 draws."""
    drawn = np.random.default_rng(0).permuted(np.tile(places, (_SAMPLES, 1)), axis=1)[:, :count]
    low, high = np.quantile(drawn, [0.1, 0.9], axis=1)
    return float(np.quantile(high - low, 0.02))


def _middles(places: NDArray[np.float64], best: int) -> tuple[float, float]:
    """Return between which places the median of the best trials is in 90 of 100 bootstraps."""
    drawn = np.random.default_rng(0).integers(len(places), size=(_SAMPLES, len(places)))
    medians = np.median(places[np.sort(drawn)[:, :best]], axis=1)
    low, high = np.quantile(medians, [0.05, 0.95])
    return float(low), float(high)


def pair(facts: Facts) -> Iterator[str]:
    """Say whether the two parameters that matter most depend on each other.

    They must correlate in the best quarter of the trials and not in the others, since the trials of
    TPE lie along lines by chance: with two parameters that do not matter, 3 of 100 studies of TPE
    with 60 trials get a sentence, and 1 of 1,000 random studies.
    """
    two, rows = two_that_matter(facts)
    best = rows[: len(rows) // 4]
    if len(two) < 2 or len(best) < _FEWEST / 2:
        return
    one, other = two
    among, rest = (_correlation(one, other, some) for some in (best, rows[len(best) :]))
    if abs(among) >= _TIED and abs(among - rest) >= _TIED:
        way = "larger" if among > 0 else "smaller"
        yield (
            f"{text.short(one.name)} and {text.short(other.name)} depend on each other: in the "
            f"best quarter of the trials one is the larger where the other is {way} "
            f"(correlation {among:.2f})."
        )


def two_that_matter(facts: Facts) -> tuple[list[Scale], list[Row]]:
    """Return the two parameters that matter most, if they are numbers, and the trials with both."""
    names = [name for name, share in _importances(facts).items() if share >= _MATTERS][:2]
    two = _scales(facts, names)
    rows = [row for row in _valued(facts) if all(one.name in row.trial.params for one in two)]
    return two, rows


def _correlation(one: Scale, other: Scale, rows: Sequence[Row]) -> float:
    """Return how closely two parameters go together, from -1 to 1, by their places."""
    first, second = (_places(scale, rows) for scale in (one, other))
    return float(np.corrcoef(first, second)[0, 1]) if np.ptp(first) and np.ptp(second) else 0.0


def pruning(facts: Facts) -> Iterator[str]:
    """Say how many pruned trials were, at their last epoch, as good as good trials were there."""
    finished = [row for row in _complete(facts) if curve(row.trial)]
    pruned = [row for row in _valued(facts) if row.state == "PRUNED"]
    pruned = [row for row in pruned if not has_diverged(row.trial)]
    if len(finished) < _FEWEST / 2 or not pruned:
        return
    best = finished[: max(3, len(finished) // 10)]
    lost = [row for row in pruned if row.cost <= _middle(facts, best, row)]
    if lost:
        yield (
            f"{len(lost)} of {len(pruned)} PRUNED trials {'was' if len(lost) == 1 else 'were'}, at "
            f"the last epoch, no worse than half of the best {len(best)} trials had been there: "
            "pruning may have cost a good one."
        )


def _middle(facts: Facts, best: Sequence[Row], pruned: Row) -> float:
    """Return the median cost that some trials had at the last epoch of a pruned one."""
    last = max(curve(pruned.trial))
    return statistics.median(_cost_until(facts, row, last) for row in best)


def _cost_until(facts: Facts, row: Row, last: int) -> float:
    """Return the cost of a trial's best epoch up to the step `last`."""
    known = (facts.cost(value) for step, value in curve(row.trial).items() if step <= last)
    return min(known, default=math.inf)


def ended(facts: Facts) -> Iterator[str]:
    """Say where the latest search stopped early, and what the next ten trials might have brought.

    That is at most what the last ten of so many trials bring on average, whatever their order.
    """
    trials, why = opening.end_of(facts.study)
    if trials and trials == sum(facts.counts[state] for state in opening.DONE):
        enough = len(_valued(facts)) >= _FEWEST
        gain = expected(facts, len(_valued(facts)) - _NEXT)[0] if enough else None
        might = "" if gain is None else f"; the next {_NEXT} might have brought up to {gain:.2g}"
        yield f"The search ended after {trials} trials{might}. {why}."


def more(facts: Facts) -> Iterator[str]:
    """Say what twice as many trials may bring: as much as the second half of these did."""
    if len(_valued(facts)) >= _FEWEST:
        gain, half = expected(facts, len(_valued(facts)) // 2)
        yield (
            f"Twice as many trials may improve {facts.metric} by up to about {gain:.2g}: half as "
            f"many would have come to {text.short(facts.cost(half))} on average."
        )


def expected(facts: Facts, part: int) -> tuple[float, float]:
    """Return by how much the best of all trials beats the best of `part` of them, and its cost.

    Both are means over all such parts of the trials, whatever their order; the cost is that of the
    best of a part. Twice as many trials of a random search bring between two thirds of the first
    number, where values have no noise, and all of it.
    PRUNED trials count as if they had stayed as far behind the best as they were when they ended.
    """
    costs = np.sort([_at_the_end(facts, row) for row in _valued(facts)])
    count = len(costs)
    # How probable it is that the first, the second, ... of all is the best of a part.
    before = np.arange(count - part + 1)
    chances = part / (count - before)
    chances[1:] *= np.cumprod(1 - chances[:-1])
    mean = float(chances @ costs[before])
    return mean - float(costs[0]), mean


def _at_the_end(facts: Facts, row: Row) -> float:
    """Return the cost that a trial came to, or might have come to."""
    best = facts.best
    if best is None or row.state != "PRUNED":
        return row.cost
    behind = row.cost - _cost_until(facts, best, max(curve(row.trial)))
    return best.cost + max(behind, 0.0)


def few_rows(facts: Facts) -> Iterator[str]:
    """Say where the validation rows are too few to tell the accuracies of trials apart."""
    best, count = facts.best, _validation_rows(facts)
    finished = _complete(facts)
    if best is None or best.value is None or not count or not 0 < best.value < 1:
        return
    if not facts.metric.endswith(("acc", "accuracy")) or len(finished) < _FEWEST / 2:
        return
    error = math.sqrt(best.value * (1 - best.value) / count)
    near = sum(row.cost <= best.cost + error for row in finished)
    if near >= max(3, len(finished) / 4):
        yield (
            f"{near} of {len(finished)} COMPLETE trials are within one standard error of the best, "
            f"{error:.2g} for {count} validation rows: these are too few to tell them apart."
        )


def _validation_rows(facts: Facts) -> int | None:
    """Return on how many rows the best trial was validated, where its card says so."""
    card = facts.card_of(facts.best.trial) if facts.best else None
    given, data = ((card or {}).get(key) or {} for key in ("arguments", "data"))
    told = _ROWS.match(str(data.get("validation_data", data.get("x"))))
    if told is None or "cv" in given:
        return None
    count = int(told[1])
    if "validation_data" in data:
        return count
    return count - int(count * (1 - (given.get("validation_split") or 0)))


def luck(facts: Facts) -> Iterator[str]:
    """Say where other seeds move a value by more than the best leads the second."""
    first, second, *_ = [*_complete(facts), None, None]
    if first is None or second is None:
        return
    lead = second.cost - first.cost
    values = first.trial.user_attrs.get(record.VALUES)
    where, values = ("its", values) if values else ("confirm()'s", _confirmed(facts, first))
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    # The mean of several trainings has a smaller error than the value of one.
    error = spread / math.sqrt(len(values)) if where == "its" else spread
    if error > lead:
        yield (
            f"The best trial leads the second by {lead:.2g}, and chance moves its value by "
            f"{error:.2g} (standard error, from {where} {len(values)} trainings): that is no lead."
        )


def _confirmed(facts: Facts, row: Row) -> list[float]:
    """Return the values of the executions of a trial in the latest confirm()."""
    link = facts.study.user_attrs.get(record.CONFIRMATION)
    if link is None or link["study"] not in family(facts.study):
        return []
    trials = beside(facts.study, link["study"]).get_trials(False, (TrialState.COMPLETE,))
    return [value_of(one) for one in trials if one.user_attrs.get(record.CONFIRMS) == row.number]


def _importances(facts: Facts) -> dict[str, float]:
    """Return how much parameters mattered; nothing of few trials, to spare Optuna's slow import."""
    return importances(facts) if len(_valued(facts)) >= _FEWEST else {}


def _complete(facts: Facts) -> list[Row]:
    return [row for row in facts.complete if math.isfinite(row.cost)]


def _valued(facts: Facts) -> list[Row]:
    """Return the trials that came to a value of their own, the best first, PRUNED ones too."""
    return sorted(filter(counts, facts.rows), key=lambda row: row.cost)


def _scales(facts: Facts, names: Iterable[str]) -> list[Scale]:
    return [scale for name in names if (scale := scale_of(facts, name)) is not None]


def _places(scale: Scale, rows: Sequence[Row]) -> NDArray[np.float64]:
    return np.array([scale.place(row.trial.params[scale.name]) for row in rows])
