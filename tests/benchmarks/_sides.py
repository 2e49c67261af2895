"""What the benchmarks share: processes that are timed, one search in three libraries, tables."""

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
_ANSWER = "answer of the child: "
_CHILD = "import sys; from tests.benchmarks._sides import run_here; run_here(*sys.argv[1:])"
_TAIL = 3000  # characters of a failed child's output that say why


class Run(NamedTuple):
    """What one run came to: its wall time, and what each of its processes returned."""

    seconds: float
    answers: list[Any]


def timed(*calls):
    """Call functions, each in a process of its own at once, and wait for all of them.

    Each call is the function, as "module:name" of a module of this folder, and its arguments, which
    JSON must be able to hold. Where one does not return, its last output is raised.
    """
    began = time.perf_counter()
    children = [_start(*call) for call in calls]
    for child, _ in children:
        child.wait()
    seconds = time.perf_counter() - began
    return Run(seconds, [_answer(*child) for child in children])


def _start(target, *arguments):
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe might fill up and stop the child
    path = os.pathsep.join([str(ROOT), str(ROOT / "examples")])
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_USAGE_STATS_ENABLED": "0"}
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, target, json.dumps(arguments)],
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **quiet},
    )
    return child, output


def _answer(child, output):
    with output as file:
        file.seek(0)
        said = file.read()
    found = [line for line in said.splitlines() if line.startswith(_ANSWER)]
    if child.returncode != 0 or not found:
        raise RuntimeError(f"{child.args[3:]} ended with {child.returncode}:\n{said[-_TAIL:]}")
    return json.loads(found[-1].removeprefix(_ANSWER))


def run_here(target, arguments):
    """Call a function in this process, which was started for it."""
    module, name = target.split(":")
    function = getattr(importlib.import_module(f"tests.benchmarks.{module}"), name)
    print(f"\n{_ANSWER}{json.dumps(function(*json.loads(arguments)))}", flush=True)


def command_line(description, only=(), **numbers):
    """Return a parser of numbers, one after the other, and of which sides are to run."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in numbers.items():
        parser.add_argument(name, type=int, nargs="?", default=default)
    if only:
        parser.add_argument("--only", nargs="+", choices=list(only), default=list(only))
    return parser


def add_jit(parser):
    """Let a command line ask for models that XLA compiles."""
    told = "let XLA compile each model, on every side"
    parser.add_argument("--jit", action="store_true", help=told)
    return parser


def with_jit(build_model):
    """Return a builder whose models are compiled as by `compile(jit_compile=True)`."""

    def build(trial):
        model = build_model(trial)
        model.jit_compile = True
        return model

    return build


def in_turn(sides, measure, rounds):
    """Measure all sides once a round, print a line for each run, and return the runs of each."""
    runs = {side: [] for side in sides}
    for turn in range(rounds):
        for side in runs:
            runs[side].append(measure(side, turn))
            print(f"round {turn + 1}, {side}: {runs[side][-1].seconds:.1f} s", flush=True)
    return runs


def without_ours():
    """Let the examples be imported without our package, whose import other sides need not pay."""
    stub = sys.modules["kerastune_optuna"] = types.ModuleType("kerastune_optuna")
    stub.OptunaTuner = None


@dataclass
class Task:
    """Hold what is searched, whichever library does it."""

    build_model: Callable[[Any], Any]  # takes what has Optuna's suggest methods
    data: dict[str, Any]  # as keyword arguments of Model.fit
    objective: str  # the metric
    trials: int | None
    epochs: int
    folder: str  # where all files go
    seed: int = 1  # of the sampler
    callbacks: list[Any] = field(default_factory=list)  # of every trial
    direction: str = "maximize"  # which our package finds out by itself
    end: float | None = None  # when the search is to be over, as time.time() says it

    @property
    def seconds_left(self):
        """Return the seconds until the end, or None where trials alone end the search."""
        return None if self.end is None else max(0.0, self.end - time.time())

    @property
    def fit(self):
        """Return the keyword arguments of each training."""
        return {**self.data, "epochs": self.epochs, "verbose": 0}

    @property
    def best(self):
        """Return the function that finds the best of several values."""
        return max if self.direction == "maximize" else min


def iris_task(folder, trials, epochs):
    """Return the search of examples/iris.py; the examples must be on the path."""
    from iris import build_model, load_iris

    train, test = load_iris()
    data = {"x": train, "validation_data": test}
    return Task(build_model, data, "val_categorical_accuracy", trials, epochs, folder)


def at_random():
    """Return options of a search that draws at random and prunes nothing."""
    import optuna

    sampler, pruner = optuna.samplers.RandomSampler(seed=1), optuna.pruners.NopPruner()
    return {"sampler": sampler, "pruner": pruner}


def search_ours(task, n_workers=1, **options):
    """Search with our package, and return the tuner."""
    from kerastune_optuna import OptunaTuner

    options |= {"n_trials": task.trials, "seed": task.seed, "directory": task.folder}
    options["timeout"] = task.seconds_left
    tuner = OptunaTuner(task.build_model, task.objective, **options)
    return tuner.search(**task.fit, callbacks=task.callbacks, n_workers=n_workers)


def create_optuna(folder, **options):
    """Return the study of a folder as plain Optuna opens it, made where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = {"direction": "maximize", **options, "study_name": "plain", "load_if_exists": True}
    return optuna.create_study(storage=f"sqlite:///{folder}/study.db", **options)


def search_optuna(task, pruning=lambda trial: [], **options):
    """Search with plain Optuna as its users write it, with callbacks that prune a trial."""

    def objective(trial):
        model = task.build_model(trial)
        history = model.fit(**task.fit, callbacks=[*task.callbacks, *pruning(trial)])
        return task.best(history.history[task.objective])

    study = create_optuna(task.folder, direction=task.direction, **options)
    study.optimize(objective, n_trials=task.trials, timeout=task.seconds_left)
    return study


def make_keras_tuner(task, kind, **options):
    """Return the tuner of KerasTuner with that class name."""
    import keras_tuner

    options |= {"seed": task.seed, "overwrite": True, "directory": task.folder}
    objective = keras_tuner.Objective(task.objective, task.direction[:3])
    options |= {"objective": objective, "project_name": "peer"}
    tuner = getattr(keras_tuner, kind)(lambda hp: task.build_model(as_trial(hp)), **options)

    def look_at_the_clock():
        if task.end and time.time() >= task.end:
            tuner.oracle.max_trials = 1  # which there are: KerasTuner has no timeout

    tuner.pre_create_trial = look_at_the_clock
    return tuner


def as_trial(hp):
    """Let a builder written for Optuna ask KerasTuner's hyperparameters."""

    def suggest_float(name, low, high, *, log=False):
        return hp.Float(name, low, high, sampling="log" if log else "linear")

    return types.SimpleNamespace(
        suggest_int=hp.Int, suggest_float=suggest_float, suggest_categorical=hp.Choice
    )


def be_quiet():
    """Keep Optuna's lines and its warnings of experimental parts from the terminal."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def with_error(values, digits=3):
    """Return a mean, and of several values its standard error."""
    numbers = [statistics.fmean(values)]
    if len(values) > 1:
        numbers.append(statistics.stdev(values) / len(values) ** 0.5)
    return " ± ".join(f"{number:.{digits}f}" for number in numbers)


def search_ray(task, train, algorithm, scheduler=None, mode="max", **options):
    """Search with Ray Tune, two trials at a time, for the best "value"; return its results."""
    from ray import init, tune

    init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    goal = {"metric": "value", "mode": mode, "search_alg": algorithm, "scheduler": scheduler}
    goal |= {"num_samples": task.trials or -1, "time_budget_s": task.seconds_left}
    options["tune_config"] = tune.TuneConfig(**goal, max_concurrent_trials=2)
    options["run_config"] = tune.RunConfig(storage_path=task.folder, name="peer", verbose=0)
    return tune.Tuner(tune.with_resources(train, {"cpu": 1}), **options).fit()


def measured_with(packages):
    """Say when, with what and on which CPU something is measured."""
    found = [f"Python {platform.python_version()}"]
    for name in packages:
        with suppress(PackageNotFoundError):  # of a side that was not asked for
            found.append(f"{name} {version(name)}")
    on = f"{os.cpu_count()} cores of {_processor()}"
    return f"{time.strftime('%Y-%m-%d')} with {', '.join(found)}, {on}"


def _processor():
    """Return the model of the CPU, as Linux names it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "an unnamed CPU"


def report(packages, header, rows):
    """Print what is measured now, with which versions, as a table."""
    table(measured_with(packages), header, rows)


def table(measured, header, rows):
    """Print when and with what was measured, and a table in Markdown, each row as it comes."""
    print(f"\nMeasured on {measured}\n")
    for cells in chain([header, ["---"] * len(header)], rows):
        print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)
