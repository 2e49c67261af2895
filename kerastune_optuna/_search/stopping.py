"""The conditions that stop a search before its budget is spent."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
from optuna.trial import TrialState

from kerastune_optuna import _check, _optuna, _signals
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._search.failures import MOST, check_causes, check_in_a_row
from kerastune_optuna._search.repeats import Tree
from kerastune_optuna._search.worth import best_of
from kerastune_optuna._study import Card, Ranking, StudyRecord, TrialRecord, machine, sign_of

_NO_BETTER = (
    'Pass how many trials in a row may bring no better value, "auto", or an Optuna terminator.'
)
_AUTO = "auto"
# Chosen with tests/benchmarks/samplers.py --enough.
_IN_A_ROW = 3  # trials of which none was expected to gain enough
_ENOUGH = 0.01  # of the distance between the best and the median value
_GOOD_ENOUGH = "Pass a value of the objective that is good enough, like 0.98 for an accuracy."


class Deadline:
    """Hold the moment after which no trial starts, by a clock that nobody can set.

    Processes on one machine share that clock. A process on another machine gets the seconds that
    are left when the deadline is pickled. Since it may begin later, the process that leads the
    search tells it when the time is over, by `StopConditions.tell_if_late`.

    Args:
        seconds: Seconds from now to that moment.
    """

    def __init__(self, seconds: float) -> None:
        self._moment = time.monotonic() + seconds

    def __getstate__(self) -> tuple[str, float, float]:
        return machine(), self._moment, self.seconds_left()

    def __setstate__(self, state: tuple[str, float, float]) -> None:
        origin, moment, seconds_left = state
        is_here = origin == machine()
        self._moment = moment if is_here else time.monotonic() + seconds_left

    def seconds_left(self) -> float:
        """Return how many seconds are left; 0 or less once the moment has passed."""
        return self._moment - time.monotonic()


@dataclass(frozen=True)
class StopConditions:
    """Hold the conditions that stop a search before its budget is spent.

    Args:
        deadline: The deadline after which no trial starts; None (default) for no limit.
        max_failed_trials: How many trials may fail in a row; None (default) for ten, or for two
            with the same error before any succeeds.
        stop_at: A value of the objective that is good enough; None (default) for none.
        terminator: A number of trials without a better value, "auto" if the gain that the sampler
            expects decides, or an object with a method should_terminate(); None (default) for none.
        train_repeats: Whether a configuration may be trained more than once. Default False.
        first_trial: Number of the first trial of this search: earlier failures do not count.
        asked: How often searches of the study had been asked to stop before this one began.
        key: The system attr of the study in which a worker tells the others why the search stops.
        card: The key of the search's card; None (default) counts what any search has tried.
    """

    deadline: Deadline | None = None
    max_failed_trials: int | None = None
    stop_at: float | None = None
    terminator: Any = None
    train_repeats: bool = False
    first_trial: int = 0
    asked: int = 0
    key: str = field(default_factory=lambda: f"kerastune_optuna:ended:{uuid4()}")
    card: str | None = None

    def from_now_on(self, study: optuna.Study, card: str | None) -> StopConditions:
        """Return these conditions for a search that begins now, with the key of its card."""
        trials = study.get_trials(deepcopy=False)
        waiting = (one.number for one in trials if one.state is TrialState.WAITING)
        first = next(waiting, len(trials))  # which may have been enqueued before the search
        asked = StudyRecord(study).asked_to_stop or 0
        return replace(self, first_trial=first, asked=asked, card=card)

    def check(self, *, are_several: bool) -> None:
        """Refuse conditions that cannot work.

        Args:
            are_several: Whether there are several objectives.

        Raises:
            ArgumentError: Says what to pass instead.
        """
        _check.one_of("train_repeats", self.train_repeats, (True, False))
        if self.stop_at is not None:
            _check_value(self.stop_at, are_several=are_several)
        if self.terminator is not None:
            _check_terminator(self.terminator, are_several=are_several)

    @property
    def most_failures(self) -> int:
        """How many trials may fail in a row, and workers die."""
        return self.max_failed_trials or MOST

    def is_over(self) -> bool:
        """Whether no further trial may start, whatever is left to do."""
        return self.is_late or _signals.requested()

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return self.deadline is not None and self.deadline.seconds_left() <= 0

    def tell_if_late(self, study: optuna.Study) -> None:
        """Tell workers with other clocks once the time is over; users need no line about it."""
        if self.is_late and self.stop(study) is None:
            self.bring_about(study, "")

    def may_go_on(
        self, study: optuna.Study, before: float | None = None, *, waits: bool = False
    ) -> bool:
        """Whether a configuration may be left for another trial, as `Tree.is_left` says."""
        return self.train_repeats or Tree.of(study, self.card).is_left(before, waits=waits)

    def stop(self, study: optuna.Study, *, asks: bool = False) -> str | None:
        """Return the line that says why the search ended; with `asks`, this worker may end it.

        It is "" if the time is over, and None if nothing ended the search.
        """
        attrs = _optuna.attrs_of(study)  # read once, since this is asked before each trial
        why: str | None = attrs.get(self.key)
        asked = attrs.get(StudyRecord.asked_to_stop)
        if why is None and isinstance(asked, int) and asked > self.asked:
            return "Stopped from outside: call search() again to go on"
        may_be_enough = self.stop_at is not None or self.terminator is not None
        if why is None and asks and may_be_enough:
            why = self._by_results(study)
            if why is not None:
                # Tell all workers: in another worker, the terminator could later expect a gain.
                self.bring_about(study, why)
        return why

    def _by_results(self, study: optuna.Study) -> str | None:
        """Return a line that says why the results so far are enough; None where they are not."""
        if self.stop_at is not None:
            sign = sign_of(study.direction)
            for good in Ranking.front(study):
                if sign * good.values[0] <= sign * self.stop_at:
                    return f"Stopped: trial {good.number} reached {good.values[0]:g}"
        if isinstance(self.terminator, int | np.integer):
            return _no_better(study, int(self.terminator))
        if self.terminator == _AUTO:
            return _no_gain(study)
        if self.terminator is not None and self.terminator.should_terminate(study):
            return f"Stopped: {type(self.terminator).__name__} expects no gain"
        return None

    def bring_about(self, study: optuna.Study, why: str) -> None:
        """Tell all workers of the search to begin no further trial, and why."""
        _optuna.set_attr(study, self.key, why)

    def reason(self, study: optuna.Study) -> str | None:
        """Return the line that says why a search ended before its budget was spent, if it did."""
        if (why := self.stop(study)) is not None or self.train_repeats:
            return why
        # Not from the cache: Optuna clears it in Study.tell(), which a process that only leads
        # workers never calls. Such a process comes here once, when its workers have ended.
        trials = study.get_trials(deepcopy=False)
        ended = [one for one in trials if TrialRecord(one).ending.is_final]
        if Tree(Card.like(study, self.card, ended)).is_left():
            return None
        return "All configurations were tried: nothing is left"

    def check_failures(self, study: optuna.Study) -> None:
        """Raise if too many trials of this search failed or diverged.

        Raises:
            TooManyFailuresError: Says how the last one ended.
        """
        trials = study.get_trials(deepcopy=False)
        own = trials[self.first_trial :]
        if not self.max_failed_trials:
            check_causes(own, trials)
        check_in_a_row(self.max_failed_trials, own, trials)


def _no_better(study: optuna.Study, most: int) -> str | None:
    """Return a line that says that so many trials brought no better value; None where they did."""
    first: dict[tuple[float, ...], int] = {}
    # A trial with the same values as an earlier one is no improvement.
    for trial in Ranking.front(study):
        first.setdefault(tuple(trial.values), trial.number)
    best = max(first.values(), default=-1)
    trials = sum(one.number > best for one in StudyRecord(study).finished)
    if trials < most:
        return None
    return f"Stopped: {_check.count(trials, 'trial')} brought no better value"


def _no_gain(study: optuna.Study) -> str | None:
    """Return a line that says that further trials are not worth it; None where they are.

    They are not if the latest three were expected to gain less than a hundredth of the distance
    between the best and the median value (where these are equal, the worst one), or less than the
    standard error of the best value.
    """
    trials = study.get_trials(deepcopy=False)
    latest = TrialRecord.latest_gains(trials, _IN_A_ROW)
    if (best := best_of(trials, study.directions)) is None or len(latest) < _IN_A_ROW:
        return None
    values = [trial.values[0] for trial in trials if trial.state is TrialState.COMPLETE]
    off = np.abs(np.array([one for one in values if math.isfinite(one)]) - best.values[0])
    least = _ENOUGH * float(np.median(off) or np.max(off))
    if (spread := TrialRecord(best).std) is not None:
        least = max(least, spread / math.sqrt(len(TrialRecord(best).values or [0])))
    if max(latest) >= least:
        return None
    return f"Stopped: another trial is expected to gain {latest[0]:.1g}"


def _check_value(value: object, *, are_several: bool) -> None:
    """Refuse a value that no trial can reach."""
    given = f"stop_at={value!r}"
    if are_several:
        raise ArgumentError(
            f"{given} is for one objective, but there are several. Pass terminator= with how "
            "many trials in a row may add nothing to the front."
        )
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        raise ArgumentTypeError(f"{given} is not a number. {_GOOD_ENOUGH}")
    if not np.isfinite(value):
        raise ArgumentError(f"{given} is reached never or at once. {_GOOD_ENOUGH}")


def _check_terminator(given: object, *, are_several: bool) -> None:
    """Refuse a terminator that cannot work."""
    if given == _AUTO and not are_several:
        return
    if isinstance(given, type):
        raise ArgumentTypeError(f"terminator={given!r} is a class. {_NO_BETTER}")
    if given != _AUTO and not hasattr(given, "should_terminate"):
        _check.integer("terminator", given, least=1, instead=_NO_BETTER)
    # By name: Optuna 6 will have no terminators, and nothing is imported for those who pass none.
    is_of_optuna = any(kind.__module__.startswith("optuna.") for kind in type(given).__mro__)
    if are_several and (is_of_optuna or given == _AUTO):
        raise ArgumentError(
            f"terminator={given!r} is for one objective, as Optuna's are. Pass how many "
            "trials in a row may add nothing to the front."
        )
