"""Why a trial ended, and what follows from that: the one table that everything else reads."""

from __future__ import annotations

from enum import Enum

from optuna.trial import TrialState

_COMPLETE, _PRUNED, _FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
_OPEN = TrialState.RUNNING, TrialState.WAITING


class Lesson(Enum):
    """What a sampler learns from a trial."""

    VALUE = "value"  # its value, or what a PRUNED one may have come to
    BEST = "best value"  # its best value so far
    WORST = "bad"  # its parameters are bad
    RUNNING = "running"  # it is running, until it is run again
    NOTHING = "nothing"


class Ending(Enum):
    """Why a trial ended. Its name is written into the trial when it ends.

    Args:
        meaning: The meaning, for people.
        states: The states that Optuna has for such a trial.
        lesson: What a sampler learns from it.
        works: Whether it shows that the code, the data and the arguments of its search work; False
            if they may be wrong, which ends the search if it comes too often; None for neither.

    Attributes:
        counts: Whether the trial counts towards `n_trials`, so that no other one takes its place.
        is_final: Whether the configuration of the trial is done with.
        may_be_best: Whether the trial may be the best, and its model be kept.
    """

    COMPLETE = "It was trained to its end.", (_COMPLETE,), Lesson.VALUE, True
    REPEAT = (
        "It took over the result of a trial with the same parameters.",
        (_COMPLETE, _PRUNED),
        Lesson.VALUE,
        True,
    )
    PRUNED = (
        "The pruner, or code of yours that raised TrialPruned, ended its training.",
        (_PRUNED,),
        Lesson.VALUE,
        True,
    )
    DIVERGED = (
        "Its loss or a weight became NaN after an epoch with a value.",
        (_PRUNED,),
        Lesson.BEST,
        True,
    )
    OVER_LIMIT = (
        "Its training broke a limit, such as max_seconds_per_trial=.",
        (_PRUNED,),
        Lesson.WORST,
        True,
    )
    FORBIDDEN = (
        "A limit forbade it, or its builder pruned it, before its first epoch ended.",
        (_PRUNED,),
        Lesson.WORST,
        None,
    )
    FAILED = (
        "It raised an error, had no value, or killed its worker three times.",
        (_FAIL,),
        Lesson.WORST,
        False,
    )
    DIVERGED_AT_ONCE = (
        "Its loss or a weight became NaN in its first epoch, or before it had a value.",
        (_FAIL,),
        Lesson.WORST,
        False,
    )
    CUT_OFF = (
        "Its worker died, or a signal interrupted it.",
        (_FAIL,),
        Lesson.RUNNING,
        None,
    )
    WITHDRAWN = (
        "It was one too many beside those of other workers; no table shows it.",
        (_FAIL,),
        Lesson.NOTHING,
        None,
    )
    EXCLUDED = "You excluded it by exclude().", (_PRUNED,), Lesson.NOTHING, True
    OPEN = "It has not ended.", _OPEN, Lesson.RUNNING, None

    def __init__(
        self, meaning: str, states: tuple[TrialState, ...], lesson: Lesson, works: bool | None
    ) -> None:
        self.meaning, self.states, self.lesson, self.works = meaning, states, lesson, works
        self.counts = states[0] in (_COMPLETE, _PRUNED)
        # A configuration is done with once it has a result, or has failed by itself.
        self.is_final = self.counts or works is False
        # A repeat, which may be PRUNED too, has no model of its own.
        self.may_be_best = states == (_COMPLETE,)

    @property
    def is_own_result(self) -> bool:
        """Whether the trial's own training came to values that compare with those of others."""
        return self in (Ending.COMPLETE, Ending.PRUNED, Ending.DIVERGED)

    @property
    def is_run_again(self) -> bool:
        """Whether a retry runs the trial again."""
        return self is Ending.CUT_OFF
