"""Priors: the first trials and the draws lie near what is expected, and a wrong one is left."""

import math

import numpy as np
import optuna
import pytest

from kerastune_optuna import ArgumentError, GaussianProcessSampler
from tests.support.untrained import run


def params_of(value, n_trials, **priors):
    """Return the parameters of the trials of a study with one number and one category."""
    study = optuna.create_study(sampler=GaussianProcessSampler(seed=0, priors=priors))

    def objective(trial):
        trial.suggest_categorical("kind", ["a", "b", "c"])
        return value(trial.suggest_float("rate", 1e-4, 1.0, log=True))

    study.optimize(objective, n_trials=n_trials)
    return [trial.params for trial in study.trials]


def test_the_first_trial_is_what_is_expected():
    """Later ones lie near to it more often than elsewhere, and are not all equal."""
    found = params_of(lambda rate: 0.0, 20, rate=(1e-3, "high"), kind="b")
    assert found[0] == {"kind": "b", "rate": 1e-3}
    assert 10 <= sum(one["kind"] == "b" for one in found) < 20
    assert 10 <= sum(3e-4 < one["rate"] < 3e-3 for one in found) < 20


def test_a_wrong_prior_is_left():
    """After some trials, what they came to counts for more."""
    found = params_of(lambda rate: abs(rate - 0.5), 25, rate=(1e-4, "high"))
    assert abs(min(found[-5:], key=lambda one: abs(one["rate"] - 0.5))["rate"] - 0.5) < 0.05


NEAREST = [(1e9, 1999), (0.0, 1), (-1e9, 1), (700, 701), (np.int64(5000), 1999)]


@pytest.mark.parametrize(("value", "near"), NEAREST)
def test_the_nearest_value_counts_where_a_range_allows_no_other(value, near):
    """A sampler does not know all ranges beforehand, and some depend on another parameter."""
    sampler = GaussianProcessSampler(seed=0, priors={"kernel": value})
    study = optuna.create_study(sampler=sampler)
    with pytest.warns(UserWarning, match=r"has \S+ for 'kernel', which IntDist.* The nearest"):
        study.optimize(lambda trial: trial.suggest_int("kernel", 1, 1999, step=2), n_trials=4)
    assert study.trials[0].params["kernel"] == near


FAR = [("rate", "b"), ("rate", math.nan), ("kind", "d"), ("kind", 1)]


@pytest.mark.parametrize(("name", "value"), FAR)
def test_a_sampler_refuses_what_no_value_is_near_to(name, value):
    """In the first trial, before anything is drawn."""
    with pytest.raises(ArgumentError, match=f"priors= has {value!r} for {name!r}, which .*Dist"):
        params_of(lambda rate: 0.0, 1, **{name: (value, "high")})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"priors": ["level"]}, r"priors=\['level'\] names no parameters. Pass a dict like"),
        ({"priors": {"level": (0.5, "hgh")}}, "'hgh' for 'level'. Did you mean 'high'?"),
        ({"priors": {"level": (0.5, "high", 3)}}, r"\(0.5, 'high', 3\) for 'level'. Pass a dict"),
        ({"priors": {"level": 0.5}, "sampler": "tpe"}, "but sampler='tpe'. Leave sampler= out"),
        ({"priors": {"rate": 0.5}}, "priors= got 'rate', which build_model does not ask for"),
        ({"priors": {"level": 7.5}}, "priors= got level=7.5, which build_model does not allow"),
    ],
)
def test_priors_that_cannot_work_are_refused(quick, options, text):
    """Each is one error before anything trains."""
    with pytest.raises(ArgumentError, match=text):
        run(quick(n_trials=1, **options))
