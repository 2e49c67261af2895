"""Ray runs the worker loop through the example's executor, and a lost worker loses no trial."""

from __future__ import annotations

import importlib
import os
import signal
import threading

import pytest

from kerastune_optuna import WorkerError
from tests.test_examples import INDEX
from tests.workers.test_processes import builder_to_kill, finished, kill_once

ray = pytest.importorskip("ray", reason="ray is not installed; .ci/run installs it last")


@pytest.fixture
def executor(monkeypatch):
    """Give the example's executor, on two workers of this machine."""
    monkeypatch.syspath_prepend(INDEX.parent)
    cluster = importlib.import_module("ray_cluster")
    with (
        ray.init(num_cpus=2, log_to_driver=False),
        cluster.RayExecutor(num_cpus=1, max_retries=1) as executor,
    ):
        yield executor


@pytest.mark.slow
def test_a_killed_ray_worker_costs_no_trial(search, tmp_path, executor):
    """One of two workers is killed in mid-search: the study has exactly 12 trials."""
    killer = threading.Thread(target=kill_once, args=(tmp_path,))
    killer.start()
    tuner = search(
        builder_to_kill(tmp_path, 4),
        n_trials=12,
        fit={"executor": executor, "n_workers": 2, "epochs": 1},
    )
    killer.join()
    assert len(finished(tuner)) == 12
    assert [trial.number for trial in tuner.study.trials if trial.state.name != "COMPLETE"] == [4]


@pytest.mark.slow
def test_workers_that_ray_gives_up_are_an_error(search, executor):
    """A builder that kills its process does so too often for Ray: search() says how to go on."""

    def build(trial):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerError, match=r"lost a worker .*WorkerCrashedError.* to go on"):
        search(build, n_trials=3, fit={"executor": executor})
