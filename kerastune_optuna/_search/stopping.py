"""What ends a search before its budget is spent: time, nothing left to try, no gain expected."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
from optuna.terminator import BaseTerminator

from kerastune_optuna import _check, _optuna
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._search import repeats
from kerastune_optuna._study import liveness, opening, ranking, retry, sign_of

_GOOD_ENOUGH = "Pass a value of the objective that is good enough, like 0.98 for an accuracy."


class Deadline:
    """Hold the moment after which no trial starts, by a clock that nobody can set.

    Processes of one machine share that clock. A process on another machine gets the seconds that
    are left when the deadline is pickled; since it may begin later, the leader of the search tells
    it when the time is over.

    Args:
        seconds: How far away it is.
    """

    def __init__(self, seconds: float) -> None:
        self._moment = time.monotonic() + seconds

    def __reduce__(self) -> tuple[Callable[..., Deadline], tuple[str, float, float]]:
        """Travel to another process."""
        return _arrived, (liveness.machine(), self._moment, self.seconds_left())

    def seconds_left(self) -> float:
        """Return how many seconds are left; less than 0 once the moment has passed."""
        return self._moment - time.monotonic()

    def has_passed(self) -> bool:
        """Whether no further trial may start."""
        return self.seconds_left() <= 0

    def let_pass(self) -> None:
        """Set the moment into the past."""
        self._moment = float("-inf")


def _arrived(origin: str, moment: float, seconds_left: float) -> Deadline:
    deadline = Deadline(seconds_left)
    if origin == liveness.machine():
        deadline._moment = moment
    return deadline


@dataclass(frozen=True)
class Ending:
    """Hold what may end a search early.

    Args:
        terminator: A number of trials without a better value, or an object of which
            should_terminate() is asked.
        train_repeats: Whether a configuration may be trained again and again.
        stop_at: A value of the objective that is good enough.
        key: The system attr of the study in which the first worker tells the others why.
    """

    terminator: Any = None
    train_repeats: bool = False
    stop_at: float | None = None
    key: str = field(default_factory=lambda: f"kerastune_optuna:ended:{uuid4()}")

    @classmethod
    def of(cls, tuner: Any) -> Ending:
        """Return what may end the searches of a tuner, by the arguments that it was given."""
        return cls(tuner.terminator, tuner.train_repeats, tuner.stop_at)

    def check(self, *, are_several: bool) -> None:
        """Refuse what cannot tell whether to go on.

        Args:
            are_several: Whether there are several objectives.

        Raises:
            ArgumentError: Says what to pass instead.
        """
        _check.one_of("train_repeats", self.train_repeats, (True, False))
        _check_terminator(self.terminator)
        if self.stop_at is not None:
            _check_value(self.stop_at, are_several=are_several)
        if are_several and isinstance(self.terminator, BaseTerminator):
            raise ArgumentError(
                f"terminator={self.terminator!r} is for one objective: Optuna's have none for "
                "several. Pass how many trials in a row may bring nothing new onto the front."
            )

    def may_go_on(self, study: optuna.Study, unasked: int) -> bool:
        """Whether another trial may start beside those that have not asked for parameters yet."""
        return self.train_repeats or repeats.is_more_left(study, unasked)

    def stop(self, study: optuna.Study, *, asks: bool = False) -> str | None:
        """Return the line that says who ended the search; with `asks`, this worker may end it."""
        told: str | None = _optuna.attrs_of(study).get(self.key)
        if told is None and asks and (told := self._found(study)) is not None:
            # Tell all workers: the terminator of one that trains now could later expect a gain.
            self.bring_about(study, told)
        return told

    def _found(self, study: optuna.Study) -> str | None:
        """Return why no further trial need start; None where one may bring something."""
        return next(filter(None, (holds(study) for holds in self._conditions)), None)

    @property
    def _conditions(self) -> list[Callable[[optuna.Study], str | None]]:
        """What may end the search, each with what the tuner was given for it."""
        each = ((_good_enough, self.stop_at), (_no_gain, self.terminator))
        return [partial(holds, given) for holds, given in each if given is not None]

    @property
    def gives_up(self) -> bool:
        """Whether it may end a search in which no trial is good enough."""
        return self.terminator is not None

    def bring_about(self, study: optuna.Study, why: str) -> None:
        """Let no worker of the search begin another trial, and write down why."""
        _optuna.set_attr(study, self.key, why)

    def reason(self, study: optuna.Study) -> str | None:
        """Return the line that says why a search ended before its budget was spent, if it did."""
        told = self.stop(study)
        if told is not None or self.train_repeats:
            return told
        if (count := repeats.count_if_all(study)) is None:
            return None
        which = "The only configuration was" if count == 1 else f"All {count} configurations were"
        given_up = filter(retry.was_given_up, study.get_trials(deepcopy=False))
        numbers = ", ".join(str(trial.number) for trial in given_up)
        how = f"tried or given up (trial {numbers})" if numbers else "tried"
        return f"{which} {how}: nothing is left"


def _good_enough(stop_at: float, study: optuna.Study) -> str | None:
    """Return which trial came to the value; None where none did."""
    sign = sign_of(study.direction.name.lower())
    for best in ranking.front(study):
        (value,) = best.values
        if sign * value <= sign * stop_at:
            return f"Stopped: trial {best.number} came to {value:g}"
    return None


def _no_gain(terminator: Any, study: optuna.Study) -> str | None:
    """Return why no gain is expected; None where one is."""
    if isinstance(terminator, int | np.integer):
        trials = _trials_since_best(study)
        brought = _check.count(trials, "trial")
        return f"Stopped: {brought} brought no better value" if trials >= terminator else None
    if terminator.should_terminate(study):
        return f"Stopped: {type(terminator).__name__} expects no gain"
    return None


def _trials_since_best(study: optuna.Study) -> int:
    """Return how many trials ended since the one that is the best, or the last on the front."""
    first: dict[tuple[float, ...], int] = {}
    # A trial with the same values as an earlier one brought nothing.
    for trial in ranking.front(study):
        first.setdefault(tuple(trial.values), trial.number)
    best = max(first.values(), default=-1)
    return sum(trial.number > best for trial in opening.finished(study))


def _check_value(stop_at: Any, *, are_several: bool) -> None:
    if are_several:
        raise ArgumentError(
            f"stop_at={stop_at!r} is for one objective, and here are several. Pass terminator= "
            "with how many trials in a row may bring nothing new onto the front."
        )
    if not isinstance(stop_at, int | float | np.number) or isinstance(stop_at, bool):
        raise ArgumentTypeError(f"stop_at={stop_at!r} is no number. {_GOOD_ENOUGH}")
    if not np.isfinite(stop_at):
        raise ArgumentError(f"stop_at={stop_at!r} is never reached, or at once. {_GOOD_ENOUGH}")


def _check_terminator(terminator: Any) -> None:
    instead = "Pass how many trials in a row may bring no better value, or an Optuna terminator."
    if isinstance(terminator, type):
        raise ArgumentTypeError(f"terminator={terminator!r} is a class. {instead}")
    if terminator is not None and not hasattr(terminator, "should_terminate"):
        _check.integer("terminator", terminator, least=1, instead=instead)
    # Optuna's Terminator() with its defaults, which raises after 20 trials.
    if _optuna.error_evaluator_of(terminator) == "CrossValidationErrorEvaluator":
        raise ArgumentError(
            "terminator= has a CrossValidationErrorEvaluator, and there is no cross-validation. "
            "Pass a number of trials, or Terminator(evaluator, MedianErrorEvaluator(evaluator))."
        )
