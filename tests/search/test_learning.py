"""What samplers learn of trials that Optuna's own do not see, without any training."""

from __future__ import annotations

import importlib.util
import warnings

import optuna
import pytest
from optuna.samplers import CmaEsSampler, GPSampler
from optuna.trial import TrialState

from kerastune_optuna._search.learning import learning
from kerastune_optuna._study.monitor import Objective

ERROR = Objective("val_mae", "minimize")


def allowed(sampler, trials, limit=3_333):
    """Ask a sampler for trials of which large ones break a constraint; return which do not."""
    study = optuna.create_study(sampler=sampler)
    kept = []
    for _ in range(trials):
        trial = study.ask()
        units = trial.suggest_int("units", 1, 10_000)
        level = trial.suggest_float("level", 0.0, 1.0)
        trial.set_constraint("max_params", units - limit)
        kept.append(units <= limit)
        if kept[-1]:
            study.tell(trial, level)
        else:
            study.tell(trial, state=TrialState.PRUNED)
    return kept


@pytest.mark.parametrize(
    ("make", "trials"),
    [
        (lambda: CmaEsSampler(seed=2, warn_independent_sampling=False), 60),
        pytest.param(
            lambda: GPSampler(seed=2, warn_independent_sampling=False),
            18,
            marks=pytest.mark.skipif(
                importlib.util.find_spec("torch") is None, reason="torch is not installed"
            ),
        ),
    ],
    ids=["cmaes", "gp"],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_samplers_of_complete_trials_learn_constraints(make, trials):
    """Shown broken trials as bad ones, they draw half as many of them in the end as alone."""
    taught = allowed(learning(make(), ERROR, constrained=True, may_repeat=True), trials)
    with warnings.catch_warnings(action="ignore"):  # of CMA-ES, which makes no use of constraints
        alone = allowed(make(), trials)
    last = trials // 3
    assert taught[-last:].count(False) < 0.5 * alone[-last:].count(False)
