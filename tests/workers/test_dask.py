"""A Dask cluster runs the worker loop, and losing one of its workers loses no trial."""

from __future__ import annotations

import threading

import pytest

from tests.workers.test_processes import builder_to_kill, finished, kill_once

distributed = pytest.importorskip("dask.distributed", reason="the extra `dask` is not installed")


@pytest.mark.slow
def test_a_killed_dask_worker_costs_no_trial(search, tmp_path):
    """One of two Dask workers is killed in mid-search: the study has exactly 12 trials."""
    killer = threading.Thread(target=kill_once, args=(tmp_path,))
    killer.start()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor(pure=False)
        tuner = search(
            builder_to_kill(tmp_path, 4),
            n_trials=12,
            fit={"executor": executor, "n_workers": 2, "epochs": 1},
        )
    killer.join()
    assert len(finished(tuner)) == 12
    assert [trial.number for trial in tuner.study.trials if trial.state.name != "COMPLETE"] == [4]
