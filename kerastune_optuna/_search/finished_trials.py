"""The trials of a study that ended, which change no more: each needs only one look."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._study import TrialRecord, liveness

_USUAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
# How many of the first trials have all ended, and which of them are unusual.
_looked: WeakKeyDictionary[optuna.Study, tuple[int, list[FrozenTrial]]] = WeakKeyDictionary()
# These first trials by the value of a parameter, as far as one was asked for.
_indexes: WeakKeyDictionary[optuna.Study, dict[str, _Index]] = WeakKeyDictionary()


class _Index:
    """Hold the first trials of a study by the value of one parameter."""

    def __init__(self) -> None:
        self.end = 0
        self.trials: defaultdict[Any, list[FrozenTrial]] = defaultdict(list)


def by_itself(trial: FrozenTrial) -> bool:
    """Whether a trial ended because of its configuration: it was not cut off."""
    return trial.state.is_finished() and not TrialRecord(trial).was_cut_off


def first_try(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the trial that was begun first, where workers that died left it to be run again."""
    while (before := TrialRecord(trial).retry_of) is not None:
        trial = trials[before]
    return trial


def is_usual(trial: FrozenTrial) -> bool:
    """Whether a trial of ours ran or runs as most do, and is no point of a grid."""
    if trial.state is TrialState.RUNNING and liveness.is_foreign(trial):
        return False
    return trial.state in _USUAL and TrialRecord(trial).point is None


def unusual(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that are not usual, by their numbers.

    Of ten thousand trials, a look at each at each claim takes as long as a third of what else a
    claim does. So those that ended before the first one that has not are remembered.

    Args:
        study: The study.
        trials: All its trials, by their numbers.
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


def with_value(
    study: optuna.Study, trials: Sequence[FrozenTrial], name: str, value: Any
) -> list[FrozenTrial]:
    """Return the trials that have a value of a parameter.

    Args:
        study: The study.
        trials: All its trials, by their numbers.
        name: The parameter's name.
        value: The value.
    """
    first, _ = _looked.get(study, (0, []))
    index = _indexes.setdefault(study, {}).setdefault(name, _Index())
    for one in trials[index.end : first]:
        index.trials[one.params.get(name)].append(one)
    index.end = max(index.end, first)
    rest = [one for one in trials[index.end :] if one.params.get(name) == value]
    return [*index.trials.get(value, []), *rest]
