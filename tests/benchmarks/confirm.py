"""Compare confirm() with the naive choice: `python -m tests.benchmarks.confirm [searches]`.

Each search trains few of scikit-learn's digits and validates on few, so that chance has a say. The
naive choice is its best trial. confirm() trains the best three again and measures them on rows that
the search did not see. Both configurations are then trained under further seeds, the weights of
their best epoch on these rows kept, and evaluated on the test rows, which nobody saw; so are the
two models that the tuner hands out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import optuna
from scipy import stats
from sklearn.datasets import load_digits

from kerastune_optuna import OptunaTuner
from tests.benchmarks._sides import report

ROWS = (300, 150, 300)  # to train, to validate, and held out; what is left is for the test
EPOCHS, TRIALS, TOP, EXECUTIONS = 10, 30, 3, 5


class Choice(NamedTuple):
    """What was chosen, and the accuracy on test of its trainings, on average, and of its model."""

    trial: int
    configuration: float
    model: float


def load(seed: int) -> list[tuple[Any, Any]]:
    """Return pairs of images and digits: to train, to validate, held out, and for the test."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(digits))
    parts = np.split(order, np.cumsum(ROWS))
    return [(images[part] / 16.0, digits[part]) for part in parts]


def build_model(trial: optuna.trial.BaseTrial) -> keras.Model:
    """Return a compiled network of one or two dense layers."""
    model = keras.Sequential([keras.Input((64,))])
    for layer in range(trial.suggest_int("layers", 1, 2)):
        units = trial.suggest_int(f"units_{layer}", 16, 128, log=True)
        model.add(keras.layers.Dense(units, activation="relu"))
        model.add(keras.layers.Dropout(trial.suggest_float(f"dropout_{layer}", 0.0, 0.6)))
    model.add(keras.layers.Dense(10, activation="softmax"))
    rate = trial.suggest_float("learning_rate", 1e-4, 3e-2, log=True)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def accuracy(model: keras.Model, data: tuple[Any, Any]) -> float:
    """Return the accuracy of a model."""
    return float(model.evaluate(*data, verbose=0)[1])


def retrained(params: dict[str, Any], data: list[tuple[Any, Any]], seeds: int) -> float:
    """Return the mean accuracy of a configuration on the test rows, under seeds of their own."""
    train, _, held_out, test = data
    found = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        model = build_model(optuna.trial.FixedTrial(params))
        best = keras.callbacks.EarlyStopping(
            "val_accuracy", patience=EPOCHS, mode="max", restore_best_weights=True
        )
        model.fit(*train, epochs=EPOCHS, validation_data=held_out, callbacks=[best], verbose=0)
        found.append(accuracy(model, test))
    return statistics.fmean(found)


def compare(seed: int, trials: int, executions: int) -> tuple[Choice, Choice, float, bool]:
    """Search and confirm once; return the naive and the confirmed choice, and what was said."""
    data = train, validation, held_out, test = load(seed)
    with tempfile.TemporaryDirectory() as folder:
        tuner = OptunaTuner(build_model, n_trials=trials, seed=seed, directory=folder)
        tuner.search(*train, validation_data=validation, epochs=EPOCHS, verbose=0)
        found = tuner.confirm(TOP, executions, *train, held_out, verbose=0)
        models = {"naive": tuner.best_models(1)[0], "confirmed": tuner.best_model()}
        naive, winner = tuner.best_trial, found.winner
        configurations = {
            number: retrained(params, list(data), executions)
            for number, params in {naive.number: naive.params, winner.number: winner.params}.items()
        }
        return (
            Choice(naive.number, configurations[naive.number], accuracy(models["naive"], test)),
            Choice(
                winner.number, configurations[winner.number], accuracy(models["confirmed"], test)
            ),
            found.luck,
            found.is_clear,
        )


def difference(found: list[tuple[Choice, Choice, float, bool]], what: str) -> str:
    """Return by how much the confirmed choice is ahead on average, with its 95 % interval."""
    ahead = [getattr(confirmed, what) - getattr(naive, what) for naive, confirmed, *_ in found]
    mean = statistics.fmean(ahead)
    if len(ahead) < 2:
        return f"{mean:+.4f}"
    half = stats.t.ppf(0.975, len(ahead) - 1) * stats.sem(ahead)
    return f"{mean:+.4f} ± {half:.4f}"


def main() -> None:
    """Compare in each search, and print a row for each and their mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("searches", type=int, nargs="?", default=10)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    options = parser.parse_args()
    found, rows = [], []
    for seed in range(options.searches):
        found.append(compare(seed, options.trials, options.executions))
        naive, confirmed, luck, is_clear = found[-1]
        rows.append(
            [
                seed,
                f"{naive.trial} / {confirmed.trial}",
                f"{luck:+.4f}",
                "clear" if is_clear else "tie",
                f"{naive.configuration:.4f} / {confirmed.configuration:.4f}",
                f"{naive.model:.4f} / {confirmed.model:.4f}",
            ]
        )
        print(f"search {seed}: {rows[-1][1:]}", flush=True)
    luck = statistics.fmean(one[2] for one in found)
    ahead = [difference(found, what) for what in ("configuration", "model")]
    rows.append(["confirmed ahead", "", f"{luck:+.4f}", "", *ahead])
    report(
        ["kerastune_optuna", "keras", "tensorflow", "optuna", "scikit-learn"],
        [
            "search",
            "trial, naive / confirmed",
            "luck",
            "winner",
            "configuration on test, naive / confirmed",
            "model on test, naive / confirmed",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
