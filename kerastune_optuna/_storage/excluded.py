"""Trials that the user has excluded from a study: shown as PRUNED ones without any result."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Container
from typing import Any

from optuna.trial import FrozenTrial, TrialState

# The start of the system attrs of a study that say why a trial is excluded, by its number; and the
# system attr of a trial that is shown so. Optuna lets nobody write to a finished trial.
EXCLUDED = "kerastune_optuna:excluded"
_MOMENT = 1.0  # seconds for which what is excluded is not read again: reading it is a query


def key_of(number: int) -> str:
    """Return the system attr of a study that says why a trial is excluded; None if it is not."""
    return f"{EXCLUDED}:{number}"


class Excluded:
    """Know which trials of which studies are excluded.

    Args:
        attrs_of: Returns the system attrs of a study, by its id.
    """

    def __init__(self, attrs_of: Callable[[int], dict[str, Any]]) -> None:
        self._attrs_of = attrs_of
        self._known: dict[int, tuple[float, dict[int, str]]] = {}

    def forget(self) -> None:
        """Read anew at the next look what is excluded."""
        self._known.clear()

    def of(self, study_id: int) -> dict[int, str]:
        """Return why the excluded trials of a study are excluded, by their numbers."""
        until, found = self._known.get(study_id, (0.0, {}))
        if time.monotonic() > until:
            attrs = self._attrs_of(study_id).items()
            told = {key: why for key, why in attrs if key.startswith(f"{EXCLUDED}:")}
            found = {int(key.rpartition(":")[2]): why for key, why in told.items() if why}
            self._known[study_id] = time.monotonic() + _MOMENT, found
        return found


def shown(
    trials: list[FrozenTrial], excluded: dict[int, str], states: Container[TrialState] | None
) -> list[FrozenTrial]:
    """Return trials in some states, of which the excluded ones are PRUNED and have no result."""
    seen = [
        _without_result(one, excluded[one.number]) if one.number in excluded else one
        for one in trials
    ]
    return [one for one in seen if states is None or one.state in states]


def _without_result(trial: FrozenTrial, why: str) -> FrozenTrial:
    found = copy.copy(trial)
    found.state, found.values, found.intermediate_values = TrialState.PRUNED, None, {}
    found.system_attrs = {**trial.system_attrs, EXCLUDED: why}
    return found
