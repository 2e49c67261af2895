"""Trials that the user has excluded from a study: shown as PRUNED ones without any result."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._storage.patience import Delegating

# The system attr of a trial that is shown as excluded, which says why. In the database it is the
# study's, whose name goes on with a colon and the number of the trial: Optuna lets nobody write to
# a finished trial.
EXCLUDED = "kerastune_optuna:excluded"
# Seconds for which those who ask for trials do not read a study's attrs again, which is a query.
_MOMENT = 1.0


@dataclass(eq=False, repr=False)
class Excluding(Delegating):
    """Show the excluded trials of a study as PRUNED ones without any result."""

    # The system attrs of studies by id, and when they were read.
    _attrs: dict[int, tuple[float, dict[str, Any]]] = field(init=False, default_factory=dict)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials, of which those that the user has excluded have no result."""
        prefix, attrs = f"{EXCLUDED}:", self.get_study_system_attrs(study_id, _MOMENT)
        told = {key.removeprefix(prefix): attrs[key] for key in attrs if key.startswith(prefix)}
        # Another program may have written what is no number, or no reason.
        fits = {key: why for key, why in told.items() if key.isdecimal() and isinstance(why, str)}
        excluded = {int(key): why for key, why in fits.items() if why}
        if not excluded:
            return self._backend.get_all_trials(study_id, deepcopy, states)
        shown = []
        for trial in self._backend.get_all_trials(study_id, deepcopy):
            if trial.number in excluded:
                trial = copy.copy(trial)
                trial.state, trial.values, trial.intermediate_values = TrialState.PRUNED, None, {}
                trial.system_attrs = {**trial.system_attrs, EXCLUDED: excluded[trial.number]}
            shown.append(trial)
        return [one for one in shown if states is None or one.state in states]

    # This one calls get_all_trials(), so that no excluded trial is the best.
    get_best_trial = BaseStorage.get_best_trial

    def get_study_system_attrs(self, study_id: int, moment: float = 0.0) -> dict[str, Any]:
        """Return the attrs, or those that this process read at most so many seconds ago."""
        cache = self._attrs  # another dict by the end of the read if a thread has set an attr
        read, attrs = cache.get(study_id, (-math.inf, {}))
        if time.monotonic() >= read + moment:
            attrs = self._backend.get_study_system_attrs(study_id)
            cache[study_id] = time.monotonic(), attrs
        return dict(attrs)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attr; this process sees it at once, others soon."""
        self._backend.set_study_system_attr(study_id, key, value)
        self._attrs = {}
