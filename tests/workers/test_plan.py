"""What search() checks before any worker starts."""

from __future__ import annotations

import optuna
import pytest

from kerastune_optuna import ArgumentError
from tests.support.untrained import run, tuner_in


@pytest.mark.parametrize(
    "make",
    [
        lambda: "sqlite://",
        lambda: "sqlite:///:memory:",
        optuna.storages.InMemoryStorage,
        lambda: optuna.storages.RDBStorage("sqlite://"),
    ],
    ids=["url", "memory-url", "in-memory", "rdb"],
)
def test_storage_in_memory_is_refused(search, make):
    """A study in memory cannot be shared, and the error says what to pass."""
    with pytest.raises(ArgumentError, match="Leave storage out for SQLite in directory"):
        search(storage=make(), fit={"n_workers": 2})


def test_a_search_has_a_worker(search):
    """Fewer than one are refused."""
    with pytest.raises(ArgumentError, match="n_workers=0 is less than 1"):
        search(fit={"n_workers": 0})


def test_a_full_study_starts_no_worker(tmp_path, capsys):
    """A search that has nothing to do returns at once."""
    tuner = run(tuner_in(tmp_path, n_trials=2))
    run(tuner, n_workers=2, verbose=2)
    assert capsys.readouterr().out.startswith("Study 'test' has 2 of 2 trials done")
