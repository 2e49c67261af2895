"""Measure luck where the truth is known: `python -m tests.benchmarks.luck [repetitions]`.

All configurations are equally good, and each training comes to the truth and noise. Nothing is
trained: `fit` hands the noisy value to the callbacks. Each repetition is a search of 30 trials and
a confirm() of its best three, five executions each. How often does an interval cover the truth, how
much too good is the best value of the search, and how often is chance taken for a clear winner?
"""

from __future__ import annotations

import argparse
import os
import statistics
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import optuna
from scipy import integrate, stats

from kerastune_optuna import OptunaTuner
from kerastune_optuna._rerun.confirmation import Confirmation
from tests.benchmarks._sides import report

TRIALS, TOP, EXECUTIONS = 30, 3, 5
TRUTH, NOISE = 0.9, 0.02


class Noisy(keras.Sequential):
    """A model whose training comes to what its builder says, and noise from the trial's seed."""

    def __init__(self, mean: float = TRUTH, noise: float = NOISE) -> None:
        super().__init__([keras.Input((1,)), keras.layers.Dense(1)])
        self.mean, self.noise = mean, noise
        self.compile("sgd", "mse")

    def fit(self, *, callbacks: list[Any], epochs: int, **_: Any) -> None:
        """Hand the same noisy value to the callbacks at the end of each epoch."""
        value = self.mean + self.noise * np.random.normal()
        calls = keras.callbacks.CallbackList(callbacks, model=self, epochs=epochs)
        calls.on_train_begin()
        for epoch in range(epochs):
            calls.on_epoch_begin(epoch)
            calls.on_epoch_end(epoch, {"loss": value, "val_loss": value})
        calls.on_train_end()

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Say what there is to measure, without tracing anything."""
        return {"loss": self.mean}


def largest(n: int) -> float:
    """Return how large the largest of n standard normal numbers is on average."""
    density = stats.norm.pdf
    found, _ = integrate.quad(
        lambda x: n * x * density(x) * stats.norm.cdf(x) ** (n - 1), -np.inf, np.inf
    )
    return float(found)


def confirmed(seed: int) -> Confirmation:
    """Search and confirm once; return what was confirmed."""

    def build_model(trial: optuna.trial.BaseTrial) -> keras.Model:
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        return Noisy()

    tuner = OptunaTuner(
        build_model,
        "val_loss",
        direction="maximize",
        n_trials=TRIALS,
        sampler=optuna.samplers.RandomSampler(seed=seed),
        pruner=optuna.pruners.NopPruner(),
        seed=seed,
        storage=optuna.storages.InMemoryStorage(),
        keep_best=0,
        backup_every=None,
    )
    x = np.zeros((4, 1))
    tuner.search(x, x, validation_data=(x, x), epochs=1, verbose=0)
    return tuner.confirm(TOP, EXECUTIONS, x, x, (x, x), verbose=0)


def main() -> None:
    """Repeat, and compare with what theory says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repetitions", type=int, nargs="?", default=100)
    repetitions = parser.parse_args().repetitions
    found = [confirmed(seed) for seed in range(repetitions)]
    covered = [low <= TRUTH <= high for one in found for low, high in [lucky(one).interval]]
    luck = statistics.fmean(one.luck for one in found)
    report(
        ["kerastune_optuna", "keras", "optuna", "scipy"],
        ["", "measured", "expected"],
        [
            [
                "95 % intervals of the search's best that cover its mean",
                f"{sum(covered)} of {repetitions}",
                f"{0.95 * repetitions:.0f}",
            ],
            [
                "best value of the search above the truth, in standard deviations",
                f"{luck / NOISE:.2f}",
                f"{largest(TRIALS):.2f}",
            ],
            [
                "clear winners where there is none",
                f"{sum(one.is_clear for one in found)} of {repetitions}",
                f"at most {0.05 * repetitions:.0f}",
            ],
        ],
    )


def lucky(found: Confirmation) -> Any:
    """Return the configuration that the search found best."""
    return max(found.ranking, key=lambda row: row.searched)


if __name__ == "__main__":
    main()
