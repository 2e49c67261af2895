"""Ask a trial for a parameter of which the distribution is known."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import BaseTrial


def suggest(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    """Ask a trial for a value from a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    of: Any = distribution  # integers and floats have the same four parts
    ask = trial.suggest_int if isinstance(of, IntDistribution) else trial.suggest_float
    return ask(name, of.low, of.high, step=of.step, log=of.log)
