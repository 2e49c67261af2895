"""Six ways to search with all defaults, as the documentation of each tool says it.

Each side has its own pruner and sampler, and a process of its own. The time is that from the start
of the process to the end of the search, and then to the model that it hands out: Optuna and Ray
keep no weights, so that their best configuration is trained again. That model is tested on rows
that no side saw. Memory is that of all the side's processes, without what they share twice.

A search ends after some trials, or by the clock: then it has the seconds of a job from the start of
its process on, by the tool's own `timeout` where it has one, and on every side a training ends with
the epoch in which the time is over.
"""

import importlib
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil

from tests.benchmarks import _sides

SIDES = {  # of each its label, its function, and with what it is called last
    "ours1": ("kerastune_optuna, 1 worker", "ours", 1),
    "ours2": ("kerastune_optuna, 2 workers", "ours", 2),
    "optuna": ("Optuna, its callback and MedianPruner", "optuna"),
    "bayesian": ("KerasTuner BayesianOptimization", "keras_tuner", "BayesianOptimization"),
    "hyperband": ("KerasTuner Hyperband", "keras_tuner", "Hyperband"),
    "ray": ("Ray Tune, OptunaSearch and ASHA, 2 at a time", "ray"),
}
LOG = "epochs.log"
_ENDLESS = 10_000  # trials, which no search comes to
_LOOKS = 4  # seconds between two looks at the memory
PACKAGES = ["kerastune_optuna", "keras", "tensorflow", "optuna", "optuna-integration"]
PACKAGES += ["keras-tuner", "ray"]


class Job(NamedTuple):
    """Hold what is searched, and how long."""

    build_model: Callable[[Any], Any]
    load: Callable[[int], Any]  # returns x and y for training, validation and the test, by a seed
    objective: str
    batch_size: int
    direction: str = "maximize"
    trials: int = 20
    epochs: int = 20


def _open(what, folder, seed):
    """Return the search of a job, and its rows for the test."""
    import keras

    name, trials, epochs, seconds = what
    job = importlib.import_module(f"tests.benchmarks.jobs.{name}").JOB
    job = job._replace(trials=trials or job.trials, epochs=epochs or job.epochs)
    end = psutil.Process().create_time() + seconds if seconds else None
    keras.utils.set_random_seed(seed)  # before the rows, which a job may shuffle
    train, validation, test = job.load(seed)
    data = {"x": train[0], "y": train[1], "validation_data": validation}
    data["batch_size"] = job.batch_size
    trials = None if end else job.trials
    options = {"folder": folder, "seed": seed, "direction": job.direction, "end": end}
    task = _sides.Task(job.build_model, data, job.objective, trials, job.epochs, **options)
    task.callbacks += [_epoch_log(f"{folder}/{LOG}", job.objective, end)]
    return task, test


def _epoch_log(path, objective, end):
    """Return a callback that writes down each epoch, whichever process trains it.

    It ends the training if the time is over then.
    """
    import keras

    class EpochLog(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            with open(path, "a") as file:
                file.write(f"{time.time()} {epoch} {logs[objective]}\n")
            if end and time.time() >= end:
                self.model.stop_training = True

    return EpochLog()


def answer(task, test, value, hand_out):
    """Return what a search came to, and the test of the model that it hands out.

    The progress is each value that was the best so far, with the seconds until it was there.
    """
    began = psutil.Process().create_time()
    searched, progress = time.time() - began, []
    lines = (Path(task.folder) / LOG).read_text().splitlines()
    rows = [tuple(map(float, line.split())) for line in lines]
    for moment, _, reached in rows:
        if not progress or task.best([progress[-1][1], reached]) != progress[-1][1]:
            progress.append((moment - began, reached))
    test = hand_out().evaluate(*test, verbose=0, return_dict=True)
    trials = f"{task.trials} trials" if task.trials else "trials"
    return {
        "size": f"{trials} of {task.epochs} epochs",
        "trials": sum(epoch == 0 for _, epoch, _ in rows),
        "objective": task.objective,
        "direction": task.direction,
        "searched": searched,
        "epochs": len(lines),
        "value": value,
        "test": test[task.objective.removeprefix("val_")],
        "whole": time.time() - began,
        "progress": progress,
    }


def trained(task, ask):
    """Return a configuration trained again, as where no weights were kept."""
    model = task.build_model(ask)
    model.fit(**task.fit)
    return model


def ours(what, folder, seed, n_workers):
    """Search with our package."""
    task, test = _open(what, folder, seed)
    tuner = _sides.search_ours(task, n_workers)
    return answer(task, test, tuner.best_value, tuner.best_model)


def optuna(what, folder, seed):
    """Search with plain Optuna and its own callback for Keras."""
    _sides.without_ours()
    from optuna.pruners import MedianPruner
    from optuna.samplers import TPESampler
    from optuna_integration import KerasPruningCallback

    task, test = _open(what, folder, seed)

    def pruning(trial):
        return [KerasPruningCallback(trial, task.objective)]

    options = {"sampler": TPESampler(seed=seed), "pruner": MedianPruner()}
    study = _sides.search_optuna(task, pruning, **options)
    return answer(task, test, study.best_value, lambda: trained(task, study.best_trial))


def keras_tuner(what, folder, seed, kind):
    """Search with KerasTuner."""
    _sides.without_ours()
    task, test = _open(what, folder, seed)
    if kind == "Hyperband":
        tuner = _sides.make_keras_tuner(task, kind, max_epochs=task.epochs)
        tuner.search(**task.data, verbose=0, callbacks=task.callbacks)
    else:
        tuner = _sides.make_keras_tuner(task, kind, max_trials=task.trials or _ENDLESS)
        tuner.search(**task.fit, callbacks=task.callbacks)
    value = tuner.oracle.get_best_trials(1)[0].score
    return answer(task, test, value, lambda: tuner.get_best_models(1)[0])


def ray(what, folder, seed):
    """Search with Ray Tune, which stops weak trials with ASHA."""
    _sides.without_ours()
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    task, test = _open(what, folder, seed)
    train = tune.with_parameters(_train_in_ray, task=task)
    space = partial(_ask_all, task.build_model)
    mode = task.direction[:3]
    algorithm = OptunaSearch(space=space, metric="value", mode=mode, seed=seed)
    scheduler = ASHAScheduler(time_attr="epochs", max_t=task.epochs)
    results = _sides.search_ray(task, train, algorithm, scheduler, mode)
    best = results.get_best_result(scope="all")
    value = task.best(best.metrics_dataframe["value"])
    return answer(task, test, value, lambda: trained(task, fixed(best.config)))


def _ask_all(build, trial):
    """Ask a trial for all that the builder would; Ray pickles this with its searcher."""
    build(trial)


def fixed(values):
    """Return what answers Optuna's suggest methods with values that are known."""

    def given(name, *_, **__):
        return values[name]

    return SimpleNamespace(suggest_int=given, suggest_float=given, suggest_categorical=given)


def _train_in_ray(config, task):
    """Train one configuration, and report each epoch."""
    _sides.without_ours()
    import keras
    from ray import tune

    keras.utils.set_random_seed(task.seed)
    values = []

    def tell(epoch, logs):
        values.append(logs[task.objective])
        tune.report({"value": task.best(values), "epochs": epoch + 1})

    model = task.build_model(fixed(config))
    telling = keras.callbacks.LambdaCallback(on_epoch_end=tell)
    model.fit(**task.fit, callbacks=[*task.callbacks, telling])


def measure(what, side, seed):
    """Run a side once in a new folder.

    Of a job come its name, trials and epochs (None: its own), and the seconds, which may be None.
    """
    _, function, *last = SIDES[side]
    over = threading.Event()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with ThreadPoolExecutor() as beside:
            memory = beside.submit(_most_memory, over)
            try:
                run = _sides.timed((f"_tools:{function}", what, folder, seed, *last))
            finally:
                over.set()
        files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != LOG]
        disk = sum(path.stat().st_size for path in files)
    run.answers[0].update(disk=disk, memory=memory.result())  # bytes
    return run


def _most_memory(over):
    """Return the most that the processes had which this one started.

    A look each second took a quarter of a core with TensorFlow in two workers.
    """
    most = 0
    while not over.wait(_LOOKS):
        most = max(most, sum(map(_memory, psutil.Process().children(recursive=True))))
    return most


def _memory(process):
    """Return the bytes of a process, of shared ones its part; 0 where it has ended."""
    with suppress(psutil.Error):
        return process.memory_full_info().pss
    return 0
