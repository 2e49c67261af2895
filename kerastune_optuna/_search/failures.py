"""Failures that end a search: each condition is checked when a trial fails or diverges early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._exceptions import TooManyFailuresError
from kerastune_optuna._study import TrialRecord, divergence

_MOST_FORBIDDEN = 500  # configurations in a row: if fewer are allowed, samplers hardly find any


@dataclass(frozen=True)
class InARow:
    """End a search after a number of failed trials in a row.

    Args:
        most: The number of failed trials.
    """

    most: int

    def check(self, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> None:
        """Raise if the last trials of a search failed.

        Args:
            own: The trials of the search.
            trials: All trials of its study.

        Raises:
            TooManyFailuresError: Says how the last one ended.
        """
        last = list(filter(_by_itself, own))[-self.most :]
        if len(last) < self.most or any(one.state is not TrialState.FAIL for one in last):
            return
        why = TrialRecord(last[-1]).why.rstrip(".")
        many = f"{self.most} trials failed in a row, the last one"
        raise TooManyFailuresError(
            f"{many if self.most > 1 else 'The trial failed'} (trial {last[-1].number}) with: "
            f"{why}. Fix build_model or its ranges, and call search() again. "
            "max_failed_trials= allows more failures."
        )


@dataclass(frozen=True)
class OfOneCause:
    """End a search if two trials failed with the same error, and none succeeded or still may."""

    def check(self, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> None:
        """Raise if two trials failed with the same error, with the arguments of `InARow.check`."""
        if any(map(_succeeded, trials)):
            return
        by_cause: dict[str | None, list[FrozenTrial]] = defaultdict(list)
        for trial in own:
            by_cause[TrialRecord(trial).sameness].append(trial)
        by_cause.pop(None, None)
        for first, *more in by_cause.values():
            if more and not divergence.is_any_to_succeed(trials, more[0]):
                why = TrialRecord(first).why.rstrip(".")
                raise TooManyFailuresError(
                    f"{len(more) + 1} trials failed with the same error before any succeeded: "
                    f"{why}. Fix build_model, the data or the arguments, and make the same call "
                    "again. If other configurations work, enqueue() one of them before a search, "
                    "or pass max_failed_trials= to allow more failures."
                )


class AllForbidden:
    """End a search in which constraints that take the trial alone allow hardly anything."""

    def check(self, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> None:
        """Raise if none of the last trials was allowed, with the arguments of `InARow.check`."""
        last = [one for one in own if one.state.is_finished()][-_MOST_FORBIDDEN:]
        if len(last) == _MOST_FORBIDDEN and all(TrialRecord(one).forbidden_by for one in last):
            raise TooManyFailuresError(
                f"{_MOST_FORBIDDEN} configurations in a row were not allowed, the last one by "
                f"{TrialRecord(last[-1]).forbidden_by}. Let constraints= allow more, or let "
                "build_model suggest less that they forbid."
            )


@dataclass(frozen=True)
class InVain:
    """End a search in which all trials failed or diverged.

    Args:
        most: After how many trials; None for ten, or for two if the data has NaN or infinity.
    """

    most: int | None

    def check(self, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> None:
        """Raise if enough trials ended and all failed or diverged, as `InARow.check` does."""
        divergence.check(_tried(own), self.most, trials)


def check_study(study: optuna.Study) -> None:
    """Raise if trials of the study ended, but none was trained, or all failed or diverged.

    Raises:
        TooManyFailuresError: Says how the last one ended.
    """
    trials = study.get_trials(deepcopy=False)
    divergence.check_trained([one for one in trials if TrialRecord(one).ended_by_itself])
    InVain(1).check(trials, ())


def _tried(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials whose own training decided how they ended, ordered by number."""
    records = map(TrialRecord, trials)
    own = (one.of for one in records if one.repeat_of is None and not one.breaks_constraint)
    return [one for one in own if _by_itself(one) and divergence.has_begun(one)]


def _by_itself(trial: FrozenTrial) -> bool:
    record = TrialRecord(trial)
    return record.ended_by_itself and record.forbidden_by is None


def _succeeded(trial: FrozenTrial) -> bool:
    """Whether a trial showed that the code, the data and the arguments can work."""
    is_done = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    # A trial that broke a constraint was not trained, so it has neither values nor reports.
    return is_done and (trial.values is not None or bool(trial.intermediate_values))
