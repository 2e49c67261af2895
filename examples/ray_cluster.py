"""Search the network of iris.py on a Ray cluster, here one of two processes on this machine.

Run it as `python examples/ray_cluster.py`, after `pip install "kerastune_optuna[examples]" ray`. On
a real cluster, pass its address to `ray.init`, and a database URL and an artifact store that all
machines reach to `OptunaTuner`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

import ray
from iris import EPOCHS, build_model, load_iris

from kerastune_optuna import OptunaTuner


class RayExecutor(Executor):
    """Run functions as tasks of Ray, which starts one anew whose worker died.

    Args:
        **options: Those of `ray.remote` for each task, like `num_gpus=1` or `max_retries=10`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = {"max_retries": 3, **options}
        self._tasks: list[ray.ObjectRef] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Start a task, and return its future."""
        task = ray.remote(**self._options)(fn).remote(*args, **kwargs)
        self._tasks.append(task)
        future: Future = Future()
        future.set_running_or_notify_cancel()
        task.future().add_done_callback(functools.partial(_hand_on, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the tasks, or cancel them."""
        for task in self._tasks if cancel_futures else []:
            ray.cancel(task)
        if wait and self._tasks:
            ray.wait(self._tasks, num_returns=len(self._tasks))


def _hand_on(future: Future, ended: Future) -> None:
    """Give a future what Ray's own holds; a worker that is lost is an error of the executor."""
    error = ended.exception()
    if error is None:
        future.set_result(ended.result())
    elif isinstance(error, ray.exceptions.RayTaskError):  # which the function raised
        future.set_exception(error)
    else:
        future.set_exception(BrokenExecutor(f"{type(error).__name__}: {error}"))


def main() -> None:
    """Search as two tasks of the cluster."""
    tuner = OptunaTuner(
        build_model, objective="val_categorical_accuracy", n_trials=12, study_name="iris-ray"
    )
    ds_train, ds_test = load_iris()
    with ray.init(num_cpus=2, log_to_driver=False), RayExecutor(num_cpus=1) as executor:
        tuner.search(
            ds_train, validation_data=ds_test, epochs=EPOCHS, executor=executor, n_workers=2
        )
    tuner.summary(5)
    _, accuracy = tuner.best_model().evaluate(ds_test, verbose=0)
    print(f"Accuracy of the best model: {accuracy:.4f}")


if __name__ == "__main__":
    main()
