"""For how long a database or a store that went away is tried, told by a clock that tests set."""

from __future__ import annotations

import math
from types import SimpleNamespace

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore

from kerastune_optuna import StorageError, WeightsError
from kerastune_optuna._storage import patience
from tests.support.untrained import run, tuner_in


class Clock(SimpleNamespace):
    """Be the time as `patience` sees it: a second passes when somebody sleeps one."""

    now = 0.0

    def monotonic(self):
        """Return the seconds that have passed."""
        return self.now

    def sleep(self, seconds):
        """Let them pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """Give the clock, which patience goes by."""
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


class Away(optuna.storages.InMemoryStorage):
    """Be away from the end of the first trial on, until a moment of a clock."""

    def __init__(self, clock, back):
        super().__init__()
        self.clock, self.back = clock, back

    def set_trial_state_values(self, trial_id, state, values=None):
        """Write, if it is there."""
        if state.is_finished() and self.clock.now < self.back:
            raise ConnectionError("server closed the connection")
        return super().set_trial_state_values(trial_id, state, values)


def test_a_database_is_waited_for_for_five_minutes(clock, tmp_path):
    """One that is back after 290 seconds costs nothing."""
    storage = Away(clock, 290)
    tuner = run(tuner_in(tmp_path, objective="val_mae", storage=storage, n_trials=1))
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"]
    assert clock.now >= 290


def test_a_database_is_not_waited_for_longer(clock, tmp_path):
    """One that stays away ends the search after 300 seconds, and soon after."""
    storage = Away(clock, math.inf)
    with pytest.raises(StorageError, match=r"did not answer for 3[0-2]\d s: server closed"):
        run(tuner_in(tmp_path, objective="val_mae", storage=storage, n_trials=1))
    assert 300 <= clock.now < 330


class AwayStore(FileSystemArtifactStore):
    """Take no weights until a moment of a clock."""

    def __init__(self, folder, clock, back):
        super().__init__(folder)
        self.clock, self.back = clock, back

    def write(self, artifact_id, content_body):
        """Write, if it is there."""
        is_of_weights = content_body.read(4) == b"\x89HDF"
        content_body.seek(0)
        if is_of_weights and self.clock.now < self.back:
            raise ConnectionError("no route to host")
        super().write(artifact_id, content_body)


def test_a_store_is_waited_for_for_five_minutes(clock, tmp_path):
    """Weights that it takes after 290 seconds are those of the best model."""
    store = AwayStore(tmp_path, clock, 290)
    tuner = run(tuner_in(tmp_path, objective="val_mae", artifact_store=store, n_trials=1))
    assert tuner.best_model().built
    assert clock.now >= 290


def test_a_store_is_not_waited_for_longer(clock, tmp_path):
    """One that stays away ends the search after 300 seconds, and the trial has its value."""
    tuner = tuner_in(
        tmp_path,
        objective="val_mae",
        artifact_store=AwayStore(tmp_path, clock, math.inf),
        n_trials=1,
    )
    with pytest.raises(WeightsError, match=r"did not answer for 3[0-2]\d s: no route to host"):
        run(tuner)
    assert 300 <= clock.now < 330
    assert tuner.best_trial.number == 0
