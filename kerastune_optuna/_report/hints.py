"""What a search can conclude and what it cannot, each in one sentence and only where it holds.

The rules are simple on purpose, and silent where chance alone would mostly do the same.
`python -m tests.benchmarks.hints` counts how often they speak without a reason.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Facts, Row
from kerastune_optuna._report.importances import counts
from kerastune_optuna._report.scales import Scale, scale_of
from kerastune_optuna._study import StudyRecord, TrialRecord, opening, parts_of

_FEWEST = 20  # trials: of fewer nothing is said of the whole search
_EDGE = 0.1  # of a range: what lies further out is at its edge
_BY_CHANCE = _EDGE**3  # how often the best three trials of a random search all lie there
_BETTER = 2.6  # standard deviations by which ranks at the edge must be better: 0.5 % by chance
_ROWS = re.compile(r"\S+?\((\d+)[,)]")  # how a card's text on an array begins: type and rows


def hints(facts: Facts) -> list[str]:
    """Return the sentences that hold for a study of one objective, none for one of several."""
    if facts.are_several or facts.best is None or not math.isfinite(facts.best.cost):
        return []
    rules = (edges, ended, few_rows, luck)
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
    valued = sorted(filter(counts, facts.rows), key=lambda row: row.cost)
    for scale in filter(None, (scale_of(facts, name) for name in facts.params)):
        rows = [row for row in valued if scale.name in row.trial.params]
        if len(rows) < _FEWEST or rows[0].rank != 1:
            continue
        places = np.array([scale.place(row.trial.params[scale.name]) for row in rows])
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
    return bool(there[:needed].all()) and _are_better(there)


def _are_better(chosen: NDArray[np.bool_]) -> bool:
    """Whether some trials are better than the others, by more than chance makes their ranks.

    Args:
        chosen: Whether each trial is one of them, the best trial first.
    """
    count, inside = len(chosen), int(chosen.sum())
    spread = math.sqrt(inside * (count - inside) * (count + 1) / 12)
    return inside * (count - 1) / 2 - int(np.flatnonzero(chosen).sum()) > _BETTER * spread


def ended(facts: Facts) -> Iterator[str]:
    """Say where and why the latest search stopped early."""
    trials, why = StudyRecord(facts.study).ended or (0, "")
    if trials and trials == sum(facts.counts[state] for state in opening.DONE):
        yield f"The search ended after {trials} trials. {why}."


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
    values = TrialRecord(first.trial).values
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
    link = StudyRecord(facts.study).confirmation
    study = parts_of(facts.study).get(link["study"]) if link else None
    trials = study.get_trials(False, (TrialState.COMPLETE,)) if study else []
    return [one.values[0] for one in trials if TrialRecord(one).confirms == row.number]


def _complete(facts: Facts) -> list[Row]:
    return [row for row in facts.complete if math.isfinite(row.cost)]
