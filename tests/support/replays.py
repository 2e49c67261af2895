"""Studies that are there in a second: recorded learning curves under a sampler and a pruner."""

import json
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

from kerastune_optuna._study import Card

CURVES = Path(__file__).parents[1] / "benchmarks" / "curves" / "digits.json"


class Recorded:
    """Give the recorded curve whose parameters are the nearest."""

    def __init__(self):
        recorded = json.loads(CURVES.read_text())
        self.grid = recorded["grid"]
        self.curves = {tuple(one["params"].values()): one["curve"] for one in recorded["curves"]}

    def train(self, trial):
        """Suggest the parameters of the network in examples/digits.py, and return its curve."""
        choices = (
            trial.suggest_int("conv_layers", 1, 2),
            trial.suggest_categorical("filters", self.grid["filters"]),
            trial.suggest_float("dropout", 0.0, 0.5),
            trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        )
        nearest = (
            min(values, key=lambda value: abs(value - choice))
            for values, choice in zip(self.grid.values(), choices, strict=True)
        )
        return self.curves[tuple(nearest)]


def invented(trial, epochs):
    """Suggest three parameters, and return a curve of so many epochs that follows from them."""
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    units = trial.suggest_int("units", 8, 256)
    activation = trial.suggest_categorical("activation", ["relu", "tanh", "gelu"])
    rng = np.random.default_rng(trial.number)
    top = 0.95 - 0.1 * abs(np.log10(rate) + 2.5) + 0.0002 * units - 0.02 * (activation == "tanh")
    steps = np.arange(1, epochs + 1)
    curve = top * (1 - np.exp(-steps * units / 500)) + rng.normal(0, 0.01, epochs)
    return [float(value) for value in np.clip(curve, 0.0, 1.0)]


def replay(n_trials, train, sampler=None, pruner=None):
    """Return a study of trials with the curves of `train`."""
    study = optuna.create_study(
        direction="maximize",
        sampler=sampler or optuna.samplers.TPESampler(seed=1),
        pruner=pruner or optuna.pruners.MedianPruner(n_startup_trials=10, n_warmup_steps=1),
    )
    for _ in range(n_trials):
        run(study, study.ask(), train)
    return study


def run(study, trial, train):
    """Replay one training; a few fail."""
    curve = train(trial)
    if trial.number % 37 == 21:
        trial.set_user_attr("stop_reason", "ResourceExhaustedError: OOM when allocating tensor")
        study.tell(trial, state=TrialState.FAIL)
        return
    seen = []
    for step, value in enumerate(curve):
        seen.append(value)
        trial.report(value, step)
        if pruned := trial.should_prune():
            break
    at = f"epoch {len(seen)}/{len(curve)}"
    reason = f"pruned at {at} by MedianPruner" if pruned else "ran all epochs"
    attrs = {"best_value": max(seen), "best_epoch": int(np.argmax(seen)), "epochs_run": len(seen)}
    attrs |= {"seconds": round(0.4 + 0.31 * len(seen), 3), "stop_reason": reason}
    for key, value in attrs.items():
        trial.set_user_attr(key, value)
    state = TrialState.PRUNED if pruned else TrialState.COMPLETE
    study.tell(trial, None if pruned else max(seen), state)
    Card(epochs_in_all=len(curve)).write(study)
