"""Time trials of the Iris network: `python -m tests.benchmarks.peers [rounds] [trials] [epochs]`.

Each side trains the same number of epochs in processes of its own, whose imports and reading of the
data count. All sides draw at random but KerasTuner's, which draws by its Bayesian optimization.
`--only ours1 raw1` runs some of the sides; the first is what the others are divided by, unless
Optuna with one process is among them.
"""

import statistics
import tempfile
from functools import partial

from tests.benchmarks import _sides

SIDES = {  # of each its label, its function, and with what it is called last
    "ours1": ("kerastune_optuna, 1 worker", "ours", 1),
    "ours2": ("kerastune_optuna, 2 workers", "ours", 2),
    "raw1": ("Optuna, 1 process", "raw", 1),
    "raw2": ("Optuna, 2 processes started by hand", "raw"),
    "kerastuner": ("KerasTuner BayesianOptimization", "kerastuner"),
    "ray": ("Ray Tune with OptunaSearch, 2 at a time", "ray"),
}


def ours(folder, trials, epochs, n_workers):
    """Search with our package; return how many epochs were trained."""
    task = _sides.iris_task(folder, trials, epochs)
    tuner = _sides.search_ours(task, n_workers, **_sides.at_random())
    return sum(trial.user_attrs["epochs_run"] for trial in tuner.study.trials)


def raw(folder, trials, epochs, seed):
    """Search with plain Optuna; return how many epochs were trained."""
    _sides.without_ours()
    import optuna

    task = _sides.iris_task(folder, trials, epochs)
    _sides.search_optuna(task, sampler=optuna.samplers.RandomSampler(seed=seed))
    return trials * epochs


def create(folder):
    """Make the study that two processes of plain Optuna share."""
    _sides.create_optuna(folder)


def kerastuner(folder, trials, epochs):
    """Search with KerasTuner's Bayesian optimization; return how many epochs were trained."""
    _sides.without_ours()
    task = _sides.iris_task(folder, trials, epochs)
    _sides.make_keras_tuner(task, "BayesianOptimization", max_trials=trials).search(**task.fit)
    return trials * epochs


def ray(folder, trials, epochs):
    """Search with Ray Tune, two trials at a time; return how many epochs were trained."""
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    space = {
        "l1_neurons": tune.randint(16, 65),
        "l2_neurons": tune.randint(4, 17),
        "activation": tune.choice(["sigmoid", "relu"]),
        "rate": tune.uniform(0.001, 0.01),
        "epochs": epochs,
    }
    algorithm = OptunaSearch(sampler=optuna.samplers.RandomSampler(seed=1))
    task = _sides.iris_task(folder, trials, epochs)
    results = _sides.search_ray(task, train_in_ray, algorithm, param_space=space)
    return sum(result.metrics["epochs"] for result in results)


def train_in_ray(config):
    """Train one configuration and report it once, at its end."""
    _sides.without_ours()
    from iris import load_iris, network
    from ray import tune

    epochs, (train, test) = config.pop("epochs"), load_iris()
    history = network(**config).fit(train, validation_data=test, epochs=epochs, verbose=0)
    accuracies = history.history["val_categorical_accuracy"]
    tune.report({"value": max(accuracies), "epochs": len(accuracies)})


def measure(trials, epochs, side, _):
    """Run a side once, in a new folder."""
    _, function, *last = SIDES[side]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if side != "raw2":
            return _sides.timed((f"peers:{function}", folder, trials, epochs, *last))
        _sides.timed(("peers:create", folder))
        halves = enumerate([(trials + 1) // 2, trials // 2], 1)
        return _sides.timed(*(("peers:raw", folder, half, epochs, seed) for seed, half in halves))


def main():
    numbers = {"rounds": 3, "trials": 30, "epochs": 10}
    options = _sides.command_line(__doc__, SIDES, **numbers).parse_args()
    each = partial(measure, options.trials, options.epochs)
    runs = _sides.in_turn(options.only, each, options.rounds)
    medians = {side: statistics.median(run.seconds for run in runs[side]) for side in runs}
    base = "raw1" if "raw1" in medians else options.only[0]
    rows = []
    for side, took in medians.items():
        cells = [sum(runs[side][-1].answers), f"{took:.1f}", f"{took / medians[base]:.2f}"]
        rows.append([SIDES[side][0], *cells])
    searched = f"{options.trials} random trials of {options.epochs} epochs"
    header = [searched, "epochs trained", "median s", f"divided by that of {SIDES[base][0]}"]
    packages = ["kerastune_optuna", "keras", "tensorflow", "optuna", "keras-tuner", "ray"]
    _sides.report(packages, header, rows)


if __name__ == "__main__":
    main()
