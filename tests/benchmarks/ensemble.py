"""What an ensemble of a search's models gains: `python -m tests.benchmarks.ensemble [seeds]`.

Each search has all defaults but `keep_best=5`. Half of the rows that are left for validation choose
the trials; the ensemble is chosen by these rows too, or by the other half, which the search did not
see. All models are tested on further rows. `--only` names the tasks.
"""

import statistics
import sys
import tempfile
from functools import partial

from tests.benchmarks import _sides

KEEP = 5
ROWS = {
    "best": "the best model",
    "mean": "the best five models, each alone, their mean",
    "validation": "ensemble, chosen by the validation data",
    "held out": "ensemble, chosen by rows that the search did not see",
}


def _rows(x, y, seed):
    """Return half of the rows for training, and a sixth each to validate, to choose and to test."""
    from sklearn.model_selection import train_test_split

    x, x_rest, y, y_rest = train_test_split(x, y, test_size=0.5, random_state=seed, stratify=y)
    parts = [(x, y)]
    for share in (2 / 3, 1 / 2):
        options = {"test_size": share, "random_state": seed, "stratify": y_rest}
        x, x_rest, y, y_rest = train_test_split(x_rest, y_rest, **options)
        parts.append((x, y))
    return [*parts, (x_rest, y_rest)]


def _table(load, seed):
    parts = _rows(*load(return_X_y=True), seed)
    mean, spread = parts[0][0].mean(axis=0), parts[0][0].std(axis=0) + 1e-9
    return [((x - mean) / spread, y) for x, y in parts]


def _of_sklearn(name, seed):
    from sklearn import datasets

    return _dense, _table(getattr(datasets, name), seed), {}


def _fashion(seed):
    """Return the network of the example, and images; which ones depends on the seed."""
    sys.path.append(str(_sides.ROOT / "examples"))
    from fashion_mnist import build_model

    from tests.benchmarks.jobs.fashion import load

    return build_model, load(seed, (10_000, 5_000, 5_000)), {"batch_size": 64}


TASKS = {
    "digits": (partial(_of_sklearn, "load_digits"), 30, 10),
    "cancer": (partial(_of_sklearn, "load_breast_cancer"), 30, 10),
    "fashion": (_fashion, 20, 6),
}


def _dense(trial):
    import keras

    layers = [
        keras.layers.Dense(trial.suggest_int("units", 16, 128, log=True), activation="relu"),
        keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(keras.optimizers.Adam(rate), **options)
    return model


def accuracies(name, seed):
    """Search once; return accuracies on the test rows, and how many models each is a mean of."""
    parts, trials, epochs = TASKS[name]
    build, (train, validation, held_out, test), options = parts(seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = {"x": train[0], "y": train[1], "validation_data": validation, **options}
        task = _sides.Task(build, data, "val_accuracy", trials, epochs, folder, seed)
        tuner = _sides.search_ours(task, keep_best=KEEP)
        models = tuner.best_models(len(tuner.top_trials(KEEP)))
        alone = [_accuracy(model, test) for model in models]
        found = [tuner.ensemble(*rows, batch_size=256) for rows in (validation, held_out)]
        joined = [_accuracy(one.model, test) for one in found]
    values = [alone[0], statistics.fmean(alone), *joined]
    return dict(zip(ROWS, values, strict=True)), [len(models), *(len(one.members) for one in found)]


def _accuracy(model, rows):
    return model.evaluate(*rows, batch_size=256, verbose=0, return_dict=True)["accuracy"]


def row(kind, found):
    """Return a row of the table, with the lead over the best model, paired by seed."""
    values = [one[kind] for one, _ in found]
    leads = [one[kind] - one["best"] for one, _ in found]
    return [_sides.with_error(values, 4), "" if kind == "best" else _sides.with_error(leads, 4)]


def main():
    parser = _sides.command_line(__doc__, TASKS, seeds=5)
    options = parser.parse_args()
    header = ["task", "", "accuracy on the test rows", "minus that of the best model"]
    rows = []
    for name in options.only:
        found = []
        for seed in range(options.seeds):
            found.append(accuracies(name, seed))
            print(f"{name}, seed {seed}: {found[-1]}", flush=True)
        rows += [[name, ROWS[kind], *row(kind, found)] for kind in ROWS]
    _sides.report(["kerastune_optuna", "keras", "tensorflow", "optuna"], header, rows)


if __name__ == "__main__":
    main()
