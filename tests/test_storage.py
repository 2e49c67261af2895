"""What a database is asked, rather than each of its trials."""

from __future__ import annotations

import math
from contextlib import nullcontext

import optuna
import pytest

from kerastune_optuna import _storage
from tests.servers import database

VALUES = [2.0, -math.inf, 1.0, 2.0, math.inf, -1.0]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request, tmp_path):
    """Give the URL of an empty database."""
    sqlite = nullcontext(f"sqlite:///{tmp_path}/study.db")
    with sqlite if request.param == "sqlite" else database(request.param) as found:
        yield found


@pytest.mark.parametrize(
    ("direction", "order"), [("minimize", [1, 5, 2, 0, 3, 4]), ("maximize", [4, 0, 3, 2, 5, 1])]
)
def test_a_database_ranks_trials_itself(url, direction, order):
    """The best trials come by value, infinite ones too, and the earlier of equals first."""
    storage = _storage.connect(url, 60)
    study = optuna.create_study(storage=storage, direction=direction)
    for value in VALUES:
        study.add_trial(optuna.trial.create_trial(value=value))
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={"left_out": 1}))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    numbers = {trial._trial_id: trial.number for trial in study.trials}
    found = _storage.best_ids(storage, study._study_id, direction, len(VALUES) + 1, "left_out")
    assert [numbers[trial_id] for trial_id in found] == order
    assert _storage.best_ids(storage, study._study_id, direction, 1, "left_out") == found[:1]


def test_other_storages_are_read():
    """A storage without a database ranks nothing."""
    storage = optuna.storages.InMemoryStorage()
    assert _storage.best_ids(storage, 0, "minimize", 1, "left_out") is None
