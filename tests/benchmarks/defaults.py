"""What users run, all defaults on every side: `python -m tests.benchmarks.defaults [task] [seeds]`.

Each side searches as its documentation says, with its own pruner and sampler, in a process of its
own. The time is that from the start of the process to the end of the search, and then to the model
that it hands out: Optuna and Ray keep no weights, so that their best configuration is trained
again. That model is tested on rows that no side saw. A further column has the time until the value
that all sides came to with all seeds.
"""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

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


def job(name, folder, seed):
    """Return a search, whose rows and first weights depend on the seed, and rows for a test."""
    import keras

    keras.utils.set_random_seed(seed)
    parts, trials, epochs = TASKS[name]
    build, (train, validation, test), objective, options = parts(seed)
    data = {"x": train[0], "y": train[1], "validation_data": validation, **options}
    log = keras.callbacks.LambdaCallback(on_epoch_end=partial(_log, f"{folder}/{LOG}", objective))
    return _sides.Task(build, data, objective, trials, epochs, folder, seed, [log]), test


def _log(path, objective, epoch, logs):
    """Write down when an epoch ended, and with what value, whichever process trains it."""
    with open(path, "a") as file:
        file.write(f"{time.time()} {logs[objective]}\n")


def _split(x, y, seed):
    """Return three fifths of the rows for training, and one each for validation and the test."""
    from sklearn.model_selection import train_test_split

    x, x_rest, y, y_rest = train_test_split(x, y, test_size=0.4, random_state=seed, stratify=y)
    x_val, x_test, y_val, y_test = train_test_split(
        x_rest, y_rest, test_size=0.5, random_state=seed, stratify=y_rest
    )
    return (x, y), (x_val, y_val), (x_test, y_test)


def _iris(seed):
    """Return the network of examples/iris.py, the rows of Iris and the metric."""
    import numpy as np
    from iris import build_model, load_iris

    parts = [(x, y) for data in load_iris() for x, y in data.as_numpy_iterator()]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    return build_model, _split(x, y, seed), "val_categorical_accuracy", {"batch_size": 16}


def _fashion(seed):
    """Return the network of the example, Fashion-MNIST and the metric."""
    from fashion_mnist import build_model, load

    return build_model, load(), "val_accuracy", {"batch_size": 64}


TASKS = {"iris": (_iris, 30, 20), "fashion": (_fashion, 20, 12)}  # with trials and epochs


def answer(task, test, value, hand_out):
    """Return seconds to the search's end, epochs, value, accuracy, seconds to model, progress.

    The progress is each value that was the best so far, with the seconds until it was there.
    """
    began = psutil.Process().create_time()
    searched, progress = time.time() - began, []
    lines = (Path(task.folder) / LOG).read_text().splitlines()
    for moment, reached in (map(float, line.split()) for line in lines):
        if not progress or reached > progress[-1][1]:
            progress.append((moment - began, reached))
    accuracy = hand_out().evaluate(*test, verbose=0, return_dict=True)
    name = task.objective.removeprefix("val_")
    return [searched, len(lines), value, accuracy[name], time.time() - began, progress]


def trained(task, ask):
    """Return a configuration trained again, as where no weights were kept."""
    model = task.build_model(ask)
    model.fit(**task.fit)
    return model


def ours(name, folder, seed, n_workers):
    """Search with our package."""
    task, test = job(name, folder, seed)
    tuner = _sides.search_ours(task, n_workers)
    return answer(task, test, tuner.best_value, tuner.best_model)


def optuna(name, folder, seed):
    """Search with plain Optuna and its own callback for Keras."""
    _sides.without_ours()
    from optuna.pruners import MedianPruner
    from optuna.samplers import TPESampler
    from optuna_integration import KerasPruningCallback

    task, test = job(name, folder, seed)

    def pruning(trial):
        return [KerasPruningCallback(trial, task.objective)]

    options = {"sampler": TPESampler(seed=seed), "pruner": MedianPruner()}
    study = _sides.search_optuna(task, pruning, **options)
    return answer(task, test, study.best_value, lambda: trained(task, study.best_trial))


def keras_tuner(name, folder, seed, kind):
    """Search with KerasTuner."""
    _sides.without_ours()
    task, test = job(name, folder, seed)
    if kind == "Hyperband":
        tuner = _sides.make_keras_tuner(task, kind, max_epochs=task.epochs)
        tuner.search(**task.data, verbose=0, callbacks=task.callbacks)
    else:
        tuner = _sides.make_keras_tuner(task, kind, max_trials=task.trials)
        tuner.search(**task.fit, callbacks=task.callbacks)
    value = tuner.oracle.get_best_trials(1)[0].score
    return answer(task, test, value, lambda: tuner.get_best_models(1)[0])


def ray(name, folder, seed):
    """Search with Ray Tune, which stops weak trials with ASHA."""
    _sides.without_ours()
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    task, test = job(name, folder, seed)
    train = tune.with_parameters(_train_in_ray, name=name, folder=folder, seed=seed)
    space = partial(_ask_all, task.build_model)
    algorithm = OptunaSearch(space=space, metric="value", mode="max", seed=seed)
    scheduler = ASHAScheduler(time_attr="epochs", max_t=task.epochs)
    results = _sides.search_ray(folder, task.trials, train, algorithm, scheduler)
    best = results.get_best_result(scope="all")
    value = best.metrics_dataframe["value"].max()
    return answer(task, test, value, lambda: trained(task, fixed(best.config)))


def _ask_all(build, trial):
    """Ask a trial for all that the builder would; Ray pickles this with its searcher."""
    build(trial)


def fixed(values):
    """Return what answers Optuna's suggest methods with values that are known."""

    def given(name, *_, **__):
        return values[name]

    return SimpleNamespace(suggest_int=given, suggest_float=given, suggest_categorical=given)


def _train_in_ray(config, name, folder, seed):
    """Train one configuration, and report each epoch."""
    _sides.without_ours()
    import keras
    from ray import tune

    task, _ = job(name, folder, seed)
    values = []

    def tell(epoch, logs):
        values.append(logs[task.objective])
        tune.report({"value": max(values), "epochs": epoch + 1})

    model = task.build_model(fixed(config))
    telling = keras.callbacks.LambdaCallback(on_epoch_end=tell)
    model.fit(**task.fit, callbacks=[*task.callbacks, telling])


def measure(name, side, seed):
    """Run a side once, in a new folder."""
    _, function, *last = SIDES[side]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return _sides.timed((f"defaults:{function}", name, folder, seed, *last))


def row(side, runs, base, common):
    """Return a row of the table, with the time until a value that all sides came to."""
    answers = [run.answers[0] for run in runs]
    seconds, epochs, value, test, whole, progress = map(list, zip(*answers, strict=True))
    until = [next(at for at, value in one if value >= common) for one in progress]
    ratios = [one[0] / run.answers[0][0] for one, run in zip(answers, base or runs, strict=True)]
    median = statistics.median
    times = [f"{median(seconds):.1f}", f"{median(ratios):.2f}" if base else ""]
    times += [f"{median(until):.1f}", f"{median(whole):.1f}"]
    found = [f"{median(epochs):.0f}", f"{statistics.mean(value):.4f}", _sides.with_error(test, 4)]
    return [SIDES[side][0], *times, *found]


def main():
    parser = _sides.command_line(__doc__, SIDES)
    parser.add_argument("task", nargs="?", default="iris", choices=TASKS)
    parser.add_argument("seeds", type=int, nargs="?", default=3)
    options = parser.parse_args()
    runs = _sides.in_turn(options.only, partial(measure, options.task), options.seeds)
    _, trials, epochs = TASKS[options.task]
    header = [f"{options.task}, {trials} trials of {epochs} epochs, all defaults"]
    common = min(run.answers[0][5][-1][1] for side in runs.values() for run in side)
    header += ["search, s", "divided by Optuna's", f"until {common:.4g}, s", "with the model, s"]
    header += ["epochs trained", "best value", "accuracy on other rows"]
    _sides.report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna", "optuna-integration", "keras-tuner"],
        header,
        [row(side, runs[side], runs.get("optuna"), common) for side in runs],
    )


if __name__ == "__main__":
    main()
