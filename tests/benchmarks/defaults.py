"""What users run, all defaults on every side: `python -m tests.benchmarks.defaults [task] [seeds]`.

Each side searches as its documentation says, with its own pruner and sampler, in a process of its
own. The time is that from the start of the process to the end of the search, and then to the model
that it hands out: Optuna and Ray keep no weights, so that their best configuration is trained
again. That model is tested on rows that no side saw. A further column has the time until the value
that all sides came to with all seeds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.benchmarks._sides import (
    KERAS_TUNER,
    OPTUNA,
    OURS,
    Run,
    Task,
    in_turn,
    let_choose,
    make_keras_tuner,
    report,
    search_optuna,
    search_ours,
    timed,
    without_ours,
)

# Of each: trials, epochs.
SIZES = {"iris": (30, 20), "fashion": (20, 12)}
SIDES = {
    "ours1": f"{OURS}, 1 worker",
    "ours2": f"{OURS}, 2 workers",
    "optuna": f"{OPTUNA}, its callback and MedianPruner",
    "bayesian": f"{KERAS_TUNER} BayesianOptimization",
    "hyperband": f"{KERAS_TUNER} Hyperband",
    "ray": "Ray Tune, OptunaSearch and ASHA, 2 at a time",
}
LOG = "epochs.log"
Rows = tuple[Any, Any]


class Job(NamedTuple):
    """Hold a search, and the rows that it must not see."""

    task: Task
    test: Rows


class Counter:
    """Count the epochs that this process trains, whoever calls Model.fit."""

    def __init__(self) -> None:
        import keras

        self.epochs = 0
        end = keras.callbacks.CallbackList.on_epoch_end

        def count(callbacks: Any, epoch: int, logs: Any = None) -> None:
            self.epochs += 1
            end(callbacks, epoch, logs)

        keras.callbacks.CallbackList.on_epoch_end = count


def job(name: str, folder: str, seed: int) -> Job:
    """Return the search of a task, whose rows and first weights depend on the seed."""
    import keras

    keras.utils.set_random_seed(seed)
    build, (train, validation, test), objective, options = PARTS[name](seed)
    data = {"x": train[0], "y": train[1], "validation_data": validation, **options}
    trials, epochs = SIZES[name]
    log = keras.callbacks.LambdaCallback(on_epoch_end=partial(_log, f"{folder}/{LOG}", objective))
    return Job(Task(build, data, objective, trials, epochs, folder, seed, [log]), test)


def _log(path: str, objective: str, epoch: int, logs: dict[str, float]) -> None:
    """Write down when an epoch ended, and with what value, whichever process trains it."""
    with open(path, "a") as file:
        file.write(f"{time.time()} {logs[objective]}\n")


def _progress(folder: str, began: float) -> list[tuple[float, float]]:
    """Return each value that was the best so far, with the seconds until it was there."""
    found: list[tuple[float, float]] = []
    for line in (Path(folder) / LOG).read_text().splitlines():
        moment, value = map(float, line.split())
        if not found or value > found[-1][1]:
            found.append((moment - began, value))
    return found


def _split(x: Any, y: Any, seed: int) -> tuple[Rows, Rows, Rows]:
    """Return three fifths of the rows for training, and one each for validation and the test."""
    from sklearn.model_selection import train_test_split

    x, x_rest, y, y_rest = train_test_split(x, y, test_size=0.4, random_state=seed, stratify=y)
    x_val, x_test, y_val, y_test = train_test_split(
        x_rest, y_rest, test_size=0.5, random_state=seed, stratify=y_rest
    )
    return (x, y), (x_val, y_val), (x_test, y_test)


def _iris(seed: int) -> Any:
    """Return the lecture's network, its rows and its metric."""
    import numpy as np
    from iris import build_model, load_iris

    parts = [(x, y) for data in load_iris() for x, y in data.as_numpy_iterator()]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    return build_model, _split(x, y, seed), "val_categorical_accuracy", {"batch_size": 16}


def _fashion(seed: int) -> Any:
    """Return the network of the example, Fashion-MNIST and the metric."""
    from fashion_mnist import build_model, load

    return build_model, load(), "val_accuracy", {"batch_size": 64}


PARTS: dict[str, Callable[[int], Any]] = {"iris": _iris, "fashion": _fashion}


def answer(job: Job, epochs: int, value: float, hand_out: Callable[[], Any]) -> list[Any]:
    """Return seconds to the search's end, epochs, value, accuracy, seconds to model, progress."""
    began = psutil.Process().create_time()
    searched = time.time() - began
    progress = _progress(job.task.folder, began)
    accuracy = hand_out().evaluate(*job.test, verbose=0, return_dict=True)
    name = job.task.objective.removeprefix("val_")
    return [searched, epochs, value, accuracy[name], time.time() - began, progress]


def trained(job: Job, ask: Any) -> Any:
    """Return a configuration trained again, as where no weights were kept."""
    model = job.task.build_model(ask)
    model.fit(**job.task.fit)
    return model


def ours(name: str, folder: str, seed: int, n_workers: int) -> list[Any]:
    """Search with our package."""
    one = job(name, folder, seed)
    tuner = search_ours(one.task, n_workers)
    epochs = sum(trial.user_attrs["epochs_run"] for trial in tuner.study.trials)
    return answer(one, epochs, tuner.best_value, tuner.best_model)


def optuna(name: str, folder: str, seed: int) -> list[Any]:
    """Search with plain Optuna and its own callback for Keras."""
    without_ours()
    from optuna.pruners import MedianPruner
    from optuna.samplers import TPESampler
    from optuna_integration import KerasPruningCallback

    one, counter = job(name, folder, seed), Counter()
    study = search_optuna(
        one.task,
        pruning=lambda trial: [KerasPruningCallback(trial, one.task.objective)],
        sampler=TPESampler(seed=seed),
        pruner=MedianPruner(),
    )
    return answer(one, counter.epochs, study.best_value, lambda: trained(one, study.best_trial))


def keras_tuner(name: str, folder: str, seed: int, kind: str) -> list[Any]:
    """Search with KerasTuner."""
    without_ours()
    one, counter = job(name, folder, seed), Counter()
    if kind == "Hyperband":
        tuner = make_keras_tuner(one.task, kind, max_epochs=one.task.epochs)
        tuner.search(**one.task.data, verbose=0, callbacks=one.task.callbacks)
    else:
        tuner = make_keras_tuner(one.task, kind, max_trials=one.task.trials)
        tuner.search(**one.task.fit, callbacks=one.task.callbacks)
    value = tuner.oracle.get_best_trials(1)[0].score
    return answer(one, counter.epochs, value, lambda: tuner.get_best_models(1)[0])


def ray(name: str, folder: str, seed: int) -> list[Any]:
    """Search with Ray Tune, which stops weak trials with ASHA."""
    without_ours()
    from ray import init, tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    one = job(name, folder, seed)
    init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_train_in_ray, name=name, folder=folder, seed=seed), {"cpu": 1}
        ),
        tune_config=tune.TuneConfig(
            metric="value",
            mode="max",
            search_alg=OptunaSearch(
                space=partial(_ask_all, name, seed), metric="value", mode="max", seed=seed
            ),
            scheduler=ASHAScheduler(time_attr="epochs", max_t=one.task.epochs),
            num_samples=one.task.trials,
            max_concurrent_trials=2,
        ),
        run_config=tune.RunConfig(storage_path=folder, name="peer", verbose=0),
    )
    results = tuner.fit()
    best = results.get_best_result(scope="all")
    epochs = sum(result.metrics["epochs"] for result in results)
    value = best.metrics_dataframe["value"].max()
    return answer(one, epochs, value, lambda: trained(one, Fixed(best.config)))


@cache
def _builder(name: str, seed: int) -> Callable[[Any], Any]:
    """Return the builder of a task, whose data is read once."""
    build: Callable[[Any], Any] = PARTS[name](seed)[0]
    return build


def _ask_all(name: str, seed: int, trial: Any) -> None:
    """Ask a trial for all that the builder would; Ray pickles this with its searcher."""
    _builder(name, seed)(trial)


class Fixed:
    """Answer Optuna's suggest methods with values that are known."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def suggest_int(self, name: str, *_: Any, **__: Any) -> Any:
        """Return the value."""
        return self._values[name]

    suggest_float = suggest_categorical = suggest_int


def _train_in_ray(config: dict[str, Any], name: str, folder: str, seed: int) -> None:
    """Train one configuration, and report each epoch."""
    without_ours()
    import keras
    from ray import tune

    one = job(name, folder, seed)
    best = float("-inf")

    def tell(epoch: int, logs: dict[str, float]) -> None:
        nonlocal best
        best = max(best, logs[one.task.objective])
        tune.report({"value": best, "epochs": epoch + 1})

    model = one.task.build_model(Fixed(config))
    telling = keras.callbacks.LambdaCallback(on_epoch_end=tell)
    model.fit(**one.task.fit, callbacks=[*one.task.callbacks, telling])


def call(side: str, *arguments: Any) -> tuple[Any, ...]:
    """Return a side's function, and with what it is called."""
    return {
        "ours1": ("defaults:ours", *arguments, 1),
        "ours2": ("defaults:ours", *arguments, 2),
        "optuna": ("defaults:optuna", *arguments),
        "bayesian": ("defaults:keras_tuner", *arguments, "BayesianOptimization"),
        "hyperband": ("defaults:keras_tuner", *arguments, "Hyperband"),
        "ray": ("defaults:ray", *arguments),
    }[side]


def measure(side: str, name: str, seed: int) -> Run:
    """Run a side once, in a new folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return timed(call(side, name, folder, seed))


def row(side: str, runs: list[Run], base: list[Run] | None, common: float) -> list[Any]:
    """Return a row of the table, with the time until a value that all sides came to."""
    answers = [run.answers[0] for run in runs]
    seconds, epochs, value, test, whole, progress = (
        list(part) for part in zip(*answers, strict=True)
    )
    until = [next(at for at, value in one if value >= common) for one in progress]
    ratios = [one[0] / run.answers[0][0] for one, run in zip(answers, base or runs, strict=True)]
    spread = statistics.stdev(test) if len(test) > 1 else 0.0
    return [
        SIDES[side],
        f"{statistics.median(seconds):.1f}",
        f"{statistics.median(ratios):.2f}" if base else "",
        f"{statistics.median(until):.1f}",
        f"{statistics.median(whole):.1f}",
        f"{statistics.median(epochs):.0f}",
        f"{statistics.mean(value):.4f}",
        f"{statistics.mean(test):.4f} ± {spread / len(test) ** 0.5:.4f}",
    ]


def main() -> None:
    """Run the sides in turn, once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="?", default="iris", choices=PARTS)
    parser.add_argument("seeds", type=int, nargs="?", default=3)
    let_choose(parser, SIDES)
    options = parser.parse_args()
    runs = in_turn(
        options.only, lambda side, seed: measure(side, options.task, seed), options.seeds
    )
    trials, epochs = SIZES[options.task]
    header = [f"{options.task}, {trials} trials of {epochs} epochs, all defaults"]
    common = min(run.answers[0][5][-1][1] for side in runs.values() for run in side)
    header += ["search, s", f"divided by {OPTUNA}'s", f"until {common:.4g}, s", "with the model, s"]
    header += ["epochs trained", "best value", "accuracy on other rows"]
    report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna", "optuna-integration", "keras-tuner"],
        header,
        [row(side, runs[side], runs.get("optuna"), common) for side in runs],
    )


if __name__ == "__main__":
    main()
