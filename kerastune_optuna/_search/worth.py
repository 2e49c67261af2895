"""What a trial is worth to a sampler: the only place that decides it, from `Ending.lesson`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna import _optuna
from kerastune_optuna._study import Ending, Lesson, TrialRecord, sign_of

# Of the gain in a guess: how far guesses are off by default, which counts as much as three errors.
# Without this, the first COMPLETE trial could condemn for good what gains later (tests/benchmarks).
_DOUBT, _ERRORS = 0.5, 3
_BEGUN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


def informative(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that a sampler learns from; of one that was run again, the latest try."""
    trials = _optuna.known_trials(study, _BEGUN)
    again = {TrialRecord(one).retry_of for one in trials}
    return [
        trial
        for trial in trials
        if (ending := TrialRecord(trial).ending).lesson is not Lesson.NOTHING
        and not (ending is Ending.CUT_OFF and trial.number in again)
    ]


def worth(
    trial: FrozenTrial, best: FrozenTrial | None, directions: Sequence[StudyDirection]
) -> Sequence[float] | None:
    """Return the values that a trial counts with; None if it has none, or is bad.

    A COMPLETE trial counts with its values. A PRUNED one counts with its best report, to which the
    best trial's gain after these epochs is added unless it diverged: the value of that trial less
    its best report until then. The sum counts as that value at most. Of several objectives, a
    PRUNED trial has no value.

    Args:
        trial: The trial.
        best: What `best_of` returns for the trials of its study.
        directions: The directions of the study.
    """
    if trial.state is TrialState.COMPLETE:
        return list(trial.values)
    lesson = TrialRecord(trial).ending.lesson
    if len(directions) > 1 or lesson not in (Lesson.VALUE, Lesson.BEST):
        return None
    epochs, sign = trial.intermediate_values, sign_of(directions[0])
    own = peak(trial, epochs, sign)
    if own is None or best is None or lesson is Lesson.BEST:
        return None if own is None else [own]
    return [_guess(own, best, epochs, sign)]


def doubts(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[float]:
    """Return the deviation of what each trial counts with: 0 unless it is PRUNED, and so a guess.

    The same guess is made for each COMPLETE trial, from its reports in the same epochs. The
    deviation is the root of the mean squared error; no error counts as more than the spread of the
    values, or than the best trial's gain.
    """
    if (best := best_of(trials, directions)) is None:
        return [0.0] * len(trials)
    sign, whole = sign_of(directions[0]), _trained(trials)
    values = [one.values[0] for one in whole]
    spread = max(values) - min(values)

    @cache
    def doubt(epochs: tuple[int, ...]) -> float:
        then = peak(best, epochs, sign)
        gain = 0.0 if then is None else best.values[0] - then
        # A first epoch whose loss exploded would make all guesses worthless.
        most = max(abs(gain), spread)
        begun = ((one.values[0], peak(one, epochs, sign)) for one in whole)
        wrong = [value - _guess(own, best, epochs, sign) for value, own in begun if own is not None]
        errors = [max(-most, min(error, most)) for error in wrong]
        errors += [_DOUBT * gain] * _ERRORS
        return math.hypot(*errors) / math.sqrt(len(errors))  # which bears numbers beyond 1e154

    return [
        doubt(tuple(one.intermediate_values))
        if one.state is TrialState.PRUNED and TrialRecord(one).ending.lesson is Lesson.VALUE
        else 0.0
        for one in trials
    ]


def _guess(own: float, best: FrozenTrial, epochs: Iterable[int], sign: int) -> float:
    """Return what a trial that reached `own` may come to: as much more as the best one gained.

    It is no better than the best one: a value that nobody reached would be the one to beat, and no
    other configuration would be expected to beat it.
    """
    then = peak(best, epochs, sign)
    value = best.values[0]
    return own if then is None else sorted((own, value, own + value - then))[1]


def peak(trial: FrozenTrial, epochs: Iterable[int], sign: int) -> float | None:
    """Return the best finite report of a trial in some epochs; None if there is none."""
    reports = [trial.intermediate_values.get(epoch, math.nan) for epoch in epochs]
    return min(filter(math.isfinite, reports), key=lambda one: sign * one, default=None)


def best_of(
    trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]
) -> FrozenTrial | None:
    """Return the best trained trial of a study; None if it has none, or several objectives."""
    if len(directions) > 1:
        return None
    sign = sign_of(directions[0])
    return min(_trained(trials), key=lambda one: sign * one.values[0], default=None)


def _trained(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the COMPLETE trials of a study itself, not of a warm start, that may be its best."""
    return [
        trial
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.number >= 0  # others are of a warm start
        if math.isfinite(trial.values[0]) and TrialRecord(trial).ending.may_be_best
        if not TrialRecord(trial).breaks_constraint
    ]


def is_bad(trial: FrozenTrial) -> bool:
    """Whether a sampler learns that the parameters of a trial are bad."""
    return TrialRecord(trial).ending.lesson is Lesson.WORST
