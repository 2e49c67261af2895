"""The worker loop: ask, run and tell trials until the budget of the study is spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from kerastune_optuna._exceptions import TooManyFailuresError, TunerError
from kerastune_optuna._study import finished
from kerastune_optuna._trial import Recipe, run_trial

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# Errors of the code rather than of one configuration: every trial would meet them again.
_CODE_ERRORS = (NameError, TypeError, ImportError, AttributeError)


@dataclass(frozen=True)
class Budget:
    """Hold what ends a search: the size of the study, a moment in time, failures in a row."""

    n_trials: int | None
    deadline: float | None
    max_failed_trials: int

    def is_spent(self, study: optuna.Study) -> bool:
        """Whether no further trial may start."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return True
        return self.n_trials is not None and len(finished(study)) >= self.n_trials


def work(
    study: optuna.Study,
    recipe: Recipe,
    budget: Budget,
    notify: Callable[[FrozenTrial], None],
) -> None:
    """Run trials until the budget is spent.

    Args:
        study: The study to ask.
        recipe: What all trials share.
        budget: When to stop.
        notify: Called with each trial that finished.

    Raises:
        TooManyFailuresError: So many trials failed in a row that the rest would too.
    """
    failures, checked = 0, False
    while not budget.is_spent(study):
        trial = study.ask()
        cause: Exception | None = None
        try:
            state = run_trial(study, trial, recipe, check=not checked).state
        except TunerError:
            raise
        except Exception as error:  # a configuration may fail in any way; the search goes on
            if not checked and _is_of_code(error):
                raise
            state, cause = TrialState.FAIL, error
        checked = checked or state is not TrialState.FAIL
        failures = failures + 1 if state is TrialState.FAIL else 0
        notify(study._storage.get_trial(trial._trial_id))
        if failures >= budget.max_failed_trials:
            raise _gave_up(failures, study, trial.number) from cause


def _is_of_code(error: Exception) -> bool:
    """Whether every trial would meet the error: one of the code, or of shapes that do not fit."""
    if isinstance(error, _CODE_ERRORS):
        return True
    text = str(error)
    return isinstance(error, ValueError) and ("shape" in text or "incompatible" in text)


def _gave_up(failures: int, study: optuna.Study, number: int) -> TooManyFailuresError:
    reason = study.get_trials(deepcopy=False)[number].user_attrs.get("stop_reason", "unknown")
    return TooManyFailuresError(
        f"{failures} trials failed in a row, the last one (trial {number}) with: {reason}. Mend "
        "build_model or its ranges; search() then goes on. max_failed_trials= allows more."
    )
