"""Trials whose loss did not stay finite: told from pruned ones, and an error where all are so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from kerastune_optuna._exceptions import TooManyFailuresError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

DIVERGED = "diverged"  # the user attr of a trial with the epochs that it ran until its loss was NaN
NOT_FINITE = "not_finite"  # the user attr that says where the data holds NaN or infinity
_SURE_AFTER = 2  # trials that came to nothing in their first epoch on data that is not finite


def has_diverged(trial: FrozenTrial) -> bool:
    """Whether a trial ended because its loss was no longer finite."""
    return DIVERGED in trial.user_attrs


def came_to_nothing(trial: FrozenTrial) -> bool:
    """Whether a trial failed or diverged."""
    return trial.state is TrialState.FAIL or has_diverged(trial)


def check(trials: Sequence[FrozenTrial], most: int) -> None:
    """Raise where so many trials ended and none came to anything.

    Args:
        trials: Those that ended by what their configurations came to, the last one last.
        most: How many may; fewer where the data is at fault.

    Raises:
        TooManyFailuresError: Says what the last one came to, and what to mend.
    """
    is_data = all(NOT_FINITE in one.user_attrs for one in trials)
    enough = min(most, _SURE_AFTER) if is_data else most
    if len(trials) < enough or not all(map(came_to_nothing, trials)):
        return
    last = trials[-1]
    raise TooManyFailuresError(
        f"All of {len(trials)} trials failed or diverged, the last one (trial {last.number}) with: "
        f"{last.user_attrs.get('stop_reason', 'unknown')}. Mend "
        f"{'the data' if is_data else 'build_model or its ranges, as of the learning rate'}, and "
        "search with overwrite=True or another study_name="
    )
