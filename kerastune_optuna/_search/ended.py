"""The trials of a study that ended, which change no more: each needs only one look."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# How many of the first trials have all ended, and which of them are unusual.
_looked: WeakKeyDictionary[optuna.Study, tuple[int, list[FrozenTrial]]] = WeakKeyDictionary()


def unusual(
    study: optuna.Study, trials: Sequence[FrozenTrial], is_usual: Callable[[FrozenTrial], bool]
) -> list[FrozenTrial]:
    """Return the trials that are not usual, by their numbers.

    Of ten thousand trials, a look at each at each claim takes as long as a third of what else a
    claim does. So those that ended before the first one that has not are remembered.

    Args:
        study: The study.
        trials: All its trials, by their numbers.
        is_usual: Says so of a trial; of one study it is always asked the same.
    """
    begin, found = _looked.get(study, (0, []))
    end = begin
    while end < len(trials) and trials[end].state.is_finished():
        end += 1
    found = [*found, *(one for one in trials[begin:end] if not is_usual(one))]
    _looked[study] = end, found
    return [*found, *(one for one in trials[end:] if not is_usual(one))]


def not_ended(study: optuna.Study, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
    """Return, of some trials by their numbers, those from the first that had not ended on."""
    first, _ = _looked.get(study, (0, []))
    return trials[bisect_left(trials, first, key=attrgetter("number")) :]
