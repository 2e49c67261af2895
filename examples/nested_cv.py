"""Measure a search by nested cross-validation: how good is what it finds, on rows it never saw?

Run it as `python examples/nested_cv.py`. Two outer folds are searched at a time, or as many as the
argument says: `python examples/nested_cv.py 1` prints the same. Run it again, and it goes on where
it stopped: each outer fold has a study of its own in the folder `tuning`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from kerastune_optuna import OptunaTuner

FOLDS = 5


def build_model(trial) -> keras.Model:
    """Return the compiled network for the values that a trial suggests."""
    model = keras.Sequential([keras.Input((30,))])
    model.add(keras.layers.Dense(trial.suggest_int("units", 2, 32, log=True), activation="relu"))
    model.add(keras.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def outer_fold(number: int) -> tuple[float, float, dict]:
    """Search on the training rows of an outer fold, and score the winner on its test rows.

    Returns:
        The inner score, which chose the winner; the outer score; and the winner's parameters.
    """
    x, y = load_breast_cancer(return_X_y=True)
    outer = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    train, test = list(outer.split(x, y))[number]
    x = StandardScaler().fit(x[train]).transform(x)  # the scale is learned from the training rows

    tuner = OptunaTuner(build_model, n_trials=8, seed=number, study_name=f"outer_fold_{number}")
    tuner.search(x[train], y[train], cv=3, epochs=10, verbose=0)
    model, _ = tuner.refit(x[train], y[train], verbose=0)
    _, accuracy = model.evaluate(x[test], y[test], verbose=0)
    return tuner.best_value, accuracy, tuner.best_params


def all_folds(at_a_time: int) -> Iterator[tuple[float, float, dict]]:
    """Yield what each outer fold gives, in order; so many are searched at a time."""
    with ProcessPoolExecutor(at_a_time, get_context("spawn")) as pool:
        # Given all folds at once, the pool would begin with the next ones after Ctrl-C.
        for first in range(0, FOLDS, at_a_time):
            yield from pool.map(outer_fold, range(FOLDS)[first : first + at_a_time])


def main() -> None:
    """Search all outer folds, and print what each chose and how good such a choice is."""
    inner, outer = [], []
    found = all_folds(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    for number, (best, accuracy, params) in enumerate(found):
        chosen = ", ".join(f"{name}={value:.3g}" for name, value in params.items())
        print(f"Fold {number}: inner {best:.4f}, outer {accuracy:.4f} with {chosen}", flush=True)
        inner.append(best)
        outer.append(accuracy)
    error = np.std(outer, ddof=1) / np.sqrt(FOLDS)
    print(f"Mean of the inner scores, each the best of its search: {np.mean(inner):.4f}")
    print(f"Accuracy on rows that no search saw: {np.mean(outer):.4f} ± {error:.4f}")


if __name__ == "__main__":
    main()
