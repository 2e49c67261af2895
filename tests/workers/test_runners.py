"""Tasks of an executor: a pool of processes, Dask, Ray; and with whom no search can begin."""

import dataclasses
import importlib
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from types import SimpleNamespace

import cloudpickle
import keras
import numpy as np
import pytest
import tensorflow as tf
from optuna.storages import InMemoryStorage, RDBStorage

from kerastune_optuna import ArgumentError, WorkerError
from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import INTERRUPTED
from kerastune_optuna._workers.loop import Payload
from tests.support import faults
from tests.support.hosts import Inline, needs_posix
from tests.support.marks import mostly_nightly
from tests.support.models import build_model
from tests.test_examples import INDEX


def process_pool(workers):
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


@contextmanager
def dask(workers):
    distributed = pytest.importorskip("dask.distributed", reason="the extra `dask` is missing")
    options = {"threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(n_workers=workers, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor(pure=False)


@contextmanager
def ray(workers):
    """Give the executor of examples/ray_cluster.py, on workers of this machine."""
    package = pytest.importorskip("ray", reason="ray is not installed; .ci/nightly installs it")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(INDEX.parent)
        example = importlib.import_module("ray_cluster")
    with (
        package.init(num_cpus=workers, log_to_driver=False),
        example.RayExecutor(num_cpus=1, max_retries=1) as executor,
    ):
        yield executor


# Ray forks, and JAX warns of that if another test of this process has used it.
forking = pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")


@forking
@pytest.mark.nightly
@pytest.mark.parametrize("cluster", [dask, ray])
def test_a_worker_of_a_cluster_that_is_killed_costs_no_trial(search, tmp_path, cluster):
    """One of two workers is killed in mid-search: the study has exactly 8 trials."""
    with faults.killing_once(tmp_path), cluster(2) as executor:
        fit = {"executor": executor, "n_workers": 2, "epochs": 1}
        tuner = search(faults.builder_to_kill(tmp_path, 2), n_trials=8, fit=fit)
    assert len(faults.finished(tuner)) == 8
    assert [trial.number for trial in faults.failed(tuner)] == [2]
    assert sorted(faults.states(tuner)) == [*["COMPLETE"] * 8, "FAIL"]


@forking
@pytest.mark.nightly
def test_workers_that_a_cluster_gives_up_are_an_error(search):
    """A builder that kills its process does so too often for Ray: search() says how to go on."""

    def build(trial):
        os.kill(os.getpid(), signal.SIGKILL)

    with (
        ray(2) as executor,
        pytest.raises(WorkerError, match=r"lost a worker .*WorkerCrashedError.* to continue"),
    ):
        search(build, n_trials=3, fit={"executor": executor})


@pytest.mark.parametrize("cluster", mostly_nightly([process_pool, dask], "process_pool"))
def test_the_tasks_of_an_executor_are_told_to_stop(
    search, make_tuner, tmp_path, unhurried, cluster
):
    """Ctrl-C ends the task of a search in an executor, and the next search resumes its trial."""

    def interrupt():
        faults.wait_for_epochs(tmp_path)
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    fit = {"n_workers": 1, "epochs": 100_000, "callbacks": [faults.EpochLog(tmp_path / "log")]}
    with cluster(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            search(n_trials=None, fit={"executor": executor, **fit})
        interrupting.join()
        # The only process of the executor takes this once the search's task has ended.
        executor.submit(os.getpid).result(timeout=faults.WATCHDOG)
    interrupted, again = faults.trials_of(make_tuner())
    assert interrupted.user_attrs["stop_reason"] == INTERRUPTED
    assert (again.state.name, TrialRecord(again).retry_of) == ("WAITING", 0)


class OneElsewhere(Inline):
    """Run tasks here, as a process would that has chosen another backend before."""

    def submit(self, function, payload, number):
        """Run a task at once."""
        job = cloudpickle.loads(payload.pickled)
        job = dataclasses.replace(job, settings=("elsewhere", *job.settings[1:]))
        return super().submit(function, Payload(cloudpickle.dumps(job)), number)


LOCKED = partial(lambda lock, trial: build_model(trial), threading.Lock())
LOCKED_END = SimpleNamespace(should_terminate=bool, lock=threading.Lock())
GENERATED = tf.data.Dataset.from_generator(
    lambda: iter([(np.zeros(4), 0)]),
    output_signature=(tf.TensorSpec((4,)), tf.TensorSpec((), tf.int64)),
).batch(1)
IN_MEMORY = "Leave storage= out for SQLite in directory="
REFUSED = {
    "no worker": (dict, {"n_workers": 0}, "n_workers=0 is less than 1"),
    "threads": (dict, {"executor": ThreadPoolExecutor(1)}, "share Keras's seeds"),
    "no executor": (dict, {"executor": "dask"}, r"is not a concurrent\.futures"),
    "URL in memory": (lambda: {"storage": "sqlite:///:memory:"}, {}, IN_MEMORY),
    "in memory": (lambda: {"storage": InMemoryStorage()}, {}, IN_MEMORY),
    "database in memory": (lambda: {"storage": RDBStorage("sqlite://")}, {}, IN_MEMORY),
    "lock": (lambda: {"build": LOCKED}, {}, "build_model cannot travel to other workers"),
    "terminator": (lambda: {"terminator": LOCKED_END}, {}, "^terminator cannot travel to other"),
    "Python": (dict, {"x": GENERATED, "y": None}, r"calls Python through PyFunc.*x=lambda: \.\.\."),
}


@pytest.mark.parametrize(("options", "fit", "told"), REFUSED.values(), ids=REFUSED)
def test_what_workers_cannot_share_is_refused(search, options, fit, told):
    """One line says so before any of them starts, and what to pass instead."""
    with pytest.raises(ArgumentError, match=told):
        search(fit={"n_workers": 2, **fit}, **options())


def test_an_executor_with_another_backend_is_refused(search):
    """A process that has chosen its backend before the search cannot change it."""
    with pytest.raises(WorkerError, match=r"backend 'elsewhere'.* KERAS_BACKEND=elsewhere"):
        search(fit={"executor": OneElsewhere()})


@needs_posix
@pytest.mark.slow
def test_a_pool_that_forks_says_why_it_cannot_train(search):
    """TensorFlow works in this process, and its threads do not come along into a fork."""
    keras.ops.ones(1)
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(WorkerError, match="forked after TensorFlow"),
    ):
        search(fit={"executor": pool})
