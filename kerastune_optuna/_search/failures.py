"""Failures that end a search: each condition is asked when a trial has come to nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._exceptions import TooManyFailuresError
from kerastune_optuna._study import TrialRecord, divergence


@dataclass(frozen=True)
class InARow:
    """So many trials failed one after the other.

    Args:
        most: How many of them end a search.
    """

    most: int

    def check(self, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> None:
        """Raise where that is so.

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
            f"{why}. Mend build_model or its ranges; search() then goes on. "
            "max_failed_trials= allows more."
        )


@dataclass(frozen=True)
class OfOneCause:
    """Two trials failed with the same error before any succeeded, or could still succeed."""

    def check(self, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> None:
        """Raise where that is so, as `InARow` does."""
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
                    f"{why}. Mend build_model, the data or the arguments; the same call "
                    "then goes on. Where other configurations work, enqueue() lets one of them go "
                    "first in a search, or max_failed_trials= says how many may fail."
                )


@dataclass(frozen=True)
class InVain:
    """Enough trials ended, and all of them failed or diverged.

    Args:
        most: How many are enough; None for ten, or two whose data has values that are not finite.
    """

    most: int | None

    def check(self, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> None:
        """Raise where that is so, as `InARow` does."""
        divergence.check(_tried(own), self.most, trials)


def check_study(study: optuna.Study) -> None:
    """Raise where trials of the study ended, and none was trained, or all failed or diverged.

    Raises:
        TooManyFailuresError: Says how the last one ended.
    """
    trials = study.get_trials(deepcopy=False)
    divergence.check_trained(list(filter(_by_itself, trials)))
    InVain(1).check(trials, ())


def _tried(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials whose own training decided how they ended, by their numbers."""
    records = map(TrialRecord, trials)
    own = (one.of for one in records if one.repeat_of is None and not one.breaks_constraint)
    return [one for one in own if _by_itself(one) and divergence.has_begun(one)]


def _by_itself(trial: FrozenTrial) -> bool:
    return TrialRecord(trial).ended_by_itself


def _succeeded(trial: FrozenTrial) -> bool:
    """Whether a trial showed that the code, the data and the arguments can work."""
    is_done = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    # A trial that broke a constraint was not trained, and has neither values nor reports.
    return is_done and (trial.values is not None or bool(trial.intermediate_values))
