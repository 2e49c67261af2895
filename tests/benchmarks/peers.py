"""Time the lecture's whole search: `python -m tests.benchmarks.peers [rounds] [trials]`.

Each side trains the same number of epochs in processes of its own, whose imports and reading of the
data count. `--only ours1 raw1` runs some of the sides.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

from tests.benchmarks._sides import (
    Run,
    create_optuna,
    in_turn,
    iris_task,
    let_choose,
    make_keras_tuner,
    report,
    search_optuna,
    search_ours,
    timed,
    without_ours,
)

EPOCHS = 10
LABELS = {
    "ours1": "kerastune_optuna, 1 worker",
    "ours2": "kerastune_optuna, 2 workers",
    "raw1": "Optuna, 1 process",
    "raw2": "Optuna, 2 processes started by hand",
    "kerastuner": "KerasTuner BayesianOptimization",
    "ray": "Ray Tune with OptunaSearch, 2 at a time",
}
PACKAGES = ["kerastune_optuna", "keras", "tensorflow", "optuna", "keras-tuner", "ray"]


def ours(folder: str, trials: int, n_workers: int) -> int:
    """Search with our package; return how many epochs were trained."""
    import optuna

    sampler, pruner = optuna.samplers.RandomSampler(seed=1), optuna.pruners.NopPruner()
    task = iris_task(folder, trials, EPOCHS)
    tuner = search_ours(task, n_workers, sampler=sampler, pruner=pruner)
    return sum(trial.user_attrs["epochs_run"] for trial in tuner.study.trials)


def raw(folder: str, trials: int, seed: int) -> int:
    """Search with plain Optuna; return how many epochs were trained."""
    without_ours()
    import optuna

    task = iris_task(folder, trials, EPOCHS)
    search_optuna(task, sampler=optuna.samplers.RandomSampler(seed=seed))
    return trials * EPOCHS


def create(folder: str) -> None:
    """Make the study that two processes of plain Optuna share."""
    create_optuna(folder)


def kerastuner(folder: str, trials: int) -> int:
    """Search with KerasTuner's Bayesian optimization; return how many epochs were trained."""
    without_ours()
    task = iris_task(folder, trials, EPOCHS)
    make_keras_tuner(task, "BayesianOptimization", max_trials=trials).search(**task.fit)
    return trials * EPOCHS


def ray(folder: str, trials: int) -> int:
    """Search with Ray Tune, two trials at a time; return how many epochs were trained."""
    import optuna
    from ray import init, tune
    from ray.tune.search.optuna import OptunaSearch

    init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(train_in_ray, {"cpu": 1}),
        param_space={
            "l1_neurons": tune.randint(16, 65),
            "l2_neurons": tune.randint(4, 17),
            "activation": tune.choice(["sigmoid", "relu"]),
            "rate": tune.uniform(0.001, 0.01),
        },
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            search_alg=OptunaSearch(sampler=optuna.samplers.RandomSampler(seed=1)),
            num_samples=trials,
            max_concurrent_trials=2,
        ),
        run_config=tune.RunConfig(storage_path=folder, name="iris", verbose=0),
    )
    return sum(result.metrics["epochs"] for result in tuner.fit())


def train_in_ray(config: dict[str, Any]) -> None:
    """Train one configuration and report it once, at its end."""
    without_ours()
    from iris import load_iris, network
    from ray import tune

    train, test = load_iris()
    history = network(**config).fit(train, validation_data=test, epochs=EPOCHS, verbose=0)
    accuracies = history.history["val_categorical_accuracy"]
    tune.report({"accuracy": max(accuracies), "epochs": len(accuracies)})


def calls(side: str, folder: str, trials: int) -> list[Sequence[Any]]:
    """Return the processes of a side, which start together."""
    first = (trials + 1) // 2
    return {
        "ours1": [("peers:ours", folder, trials, 1)],
        "ours2": [("peers:ours", folder, trials, 2)],
        "raw1": [("peers:raw", folder, trials, 1)],
        "raw2": [("peers:raw", folder, first, 1), ("peers:raw", folder, trials - first, 2)],
        "kerastuner": [("peers:kerastuner", folder, trials)],
        "ray": [("peers:ray", folder, trials)],
    }[side]


def measure(side: str, trials: int) -> Run:
    """Run a side once, in a new folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if side == "raw2":
            timed(("peers:create", folder))
        return timed(*calls(side, folder, trials))


def main() -> None:
    """Run the sides in turn; print their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("trials", type=int, nargs="?", default=30)
    let_choose(parser, LABELS)
    options = parser.parse_args()
    runs = in_turn(options.only, lambda side, _: measure(side, options.trials), options.rounds)
    medians = {side: statistics.median(run.seconds for run in runs[side]) for side in runs}
    base = medians.get("raw1", float("nan"))
    report(
        PACKAGES,
        [f"{options.trials} trials of {EPOCHS} epochs", "epochs trained", "median s", "to Optuna"],
        [
            [LABELS[side], sum(runs[side][-1].answers), f"{took:.1f}", f"{took / base:.2f}"]
            for side, took in medians.items()
        ],
    )


if __name__ == "__main__":
    main()
