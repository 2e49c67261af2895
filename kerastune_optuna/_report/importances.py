"""How much each parameter mattered, and which trials count for that."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import optuna
from optuna.trial import create_trial

from kerastune_optuna._report.facts import Facts, Row
from kerastune_optuna._study import TrialRecord, opening

_FEWEST = 4  # trials with a value from which importance is computed


def importances(study: optuna.Study) -> dict[str, float]:
    """Return how much each parameter of a study mattered for its first metric."""
    return shares(Facts(study))


def shares(facts: Facts) -> dict[str, float]:
    """Return how much each parameter mattered for the first metric, the most important first.

    PRUNED trials count with their best value: if most trials are pruned, the others are similar and
    tell little. The dict is empty if too few trials have a value, or if they do not differ.
    """
    rows = [row for row in facts.rows if counts(row)]
    if len(rows) < _FEWEST or len({row.value for row in rows}) < 2 or not facts.params:
        return {}
    # If all trials have the same value of a parameter, PED-ANOVA divides by zero.
    with warnings.catch_warnings(action="ignore"):
        found = optuna.importance.get_param_importances(study_of(facts, rows))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def study_of(facts: Facts, rows: Iterable[Row]) -> optuna.Study:
    """Return a study for Optuna's analyses, in which these trials are all COMPLETE."""
    with opening.quiet_optuna():
        study = optuna.create_study(direction=facts.study.directions[facts.place])
    study.add_trials(
        create_trial(
            value=row.value, params=row.trial.params, distributions=row.trial.distributions
        )
        for row in rows
    )
    return study


def counts(row: Row) -> bool:
    """Whether a trial ended with a value that it did not take over from another trial."""
    return math.isfinite(row.cost) and TrialRecord(row.trial).ending.is_own_result


def by_importance(facts: Facts) -> list[str]:
    """Return the names of the parameters, the most important first if that is known."""
    return list(dict.fromkeys([*shares(facts), *facts.params]))
