"""Trials that the user has excluded from a study: shown as PRUNED ones without any result."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

# The start of the system attrs of a study that say why a trial is excluded, by its number; and the
# system attr of a trial that is shown so. Optuna lets nobody write to a finished trial.
EXCLUDED = "kerastune_optuna:excluded"


def key_of(number: int) -> str:
    """Return the system attr of a study that says why a trial is excluded; None if it is not."""
    return f"{EXCLUDED}:{number}"


def reasons(attrs: Mapping[str, Any]) -> dict[int, str]:
    """Return why trials are excluded, by their numbers, from the system attrs of their study."""
    prefix = f"{EXCLUDED}:"
    told = {key.removeprefix(prefix): why for key, why in attrs.items() if key.startswith(prefix)}
    # Another program may have written what is no number, or no reason.
    fits = {key: why for key, why in told.items() if key.isdecimal() and isinstance(why, str)}
    return {int(key): why for key, why in fits.items() if why}


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
