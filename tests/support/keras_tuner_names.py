"""KerasTuner under one face, and this package under the same: all that differs is in the table."""

from __future__ import annotations

import functools

import keras_tuner

import kerastune_optuna
from kerastune_optuna import HyperParameters, OptunaTuner, from_keras_tuner

# What a user of KerasTuner renames, besides the import.
ARGUMENTS = {
    "max_trials": "n_trials",
    "project_name": "study_name",
    "max_consecutive_failed_trials": "max_failed_trials",
}
TUNERS = {
    "RandomSearch": {"sampler": "random", "pruner": "none"},
    "GridSearch": {"sampler": "grid", "pruner": "none"},
    "Hyperband": {"pruner": "hyperband", "n_trials": 2},
}
NO_COUNTERPART = {"max_retries_per_trial", "hyperband_iterations", "factor"}


class Theirs:
    """Give KerasTuner's names, and remember the tuner that is made of them."""

    HyperModel, HyperParameters = keras_tuner.HyperModel, keras_tuner.HyperParameters
    errors = keras_tuner.errors

    def __init__(self):
        for name in TUNERS:
            setattr(self, name, functools.partial(self._make, getattr(keras_tuner, name)))

    def _make(self, kind, *args, **settings):
        self.tuner = kind(*args, seed=1, **settings)
        return self.tuner

    def trials(self):
        """Return state, values and score of each trial."""
        states, oracle = {"COMPLETED": "COMPLETE", "FAILED": "FAIL"}, self.tuner.oracle
        trials = [oracle.trials[trial_id] for trial_id in oracle.start_order]
        return [(states[one.status], one.hyperparameters.values, one.score) for one in trials]


class Ours:
    """Give this package's names in their place.

    Args:
        queue: The values that the first trials are to have, so that they can be compared with
            KerasTuner's: the samplers of the two draw other numbers.
    """

    HyperModel, HyperParameters = object, HyperParameters
    errors = kerastune_optuna

    def __init__(self, queue=()):
        self._queue = queue
        for name, settings in TUNERS.items():
            setattr(self, name, functools.partial(self._make, **settings))

    def _make(self, hypermodel, objective, **settings):
        epochs = settings.pop("max_epochs", None)
        renamed = {
            ARGUMENTS.get(name, name): value
            for name, value in settings.items()
            if name not in NO_COUNTERPART
        }
        renamed["overwrite"] = renamed.get("overwrite", False) and not self._queue
        build = from_keras_tuner(hypermodel)
        self.tuner = OptunaTuner(build, objective, seed=1, keep_best=2, **renamed)
        for values in self._queue:  # by Optuna, since KerasTuner has values that no trial asks for
            self.tuner.study.enqueue_trial(values)
        return Renamed(self.tuner, hypermodel, epochs)

    def trials(self):
        """Return state, values and value of each trial."""
        trials = self.tuner.study.trials
        return [(one.state.name, HyperParameters(one).values, one.value) for one in trials]


class Renamed:
    """Answer to KerasTuner's names for results by ours."""

    def __init__(self, tuner, hypermodel, epochs):
        self.tuner, self.epochs, self.hypermodel = tuner, epochs, Model(hypermodel)

    def search(self, *args, **kwargs):
        """Search as ours does, for KerasTuner's number of epochs where the tuner has it."""
        self.tuner.search(*args, **{**kwargs, **({"epochs": self.epochs} if self.epochs else {})})

    def get_best_models(self, num_models=1):
        """Return our best models."""
        return self.tuner.best_models(num_models)

    def get_best_hyperparameters(self, num_trials=1):
        """Return the hyperparameters of our best trials."""
        return [HyperParameters(trial) for trial in self.tuner.top_trials(num_trials)]

    def results_summary(self, num_trials=10):
        """Print our summary."""
        self.tuner.summary(num_trials)

    def search_space_summary(self):
        """Print our search space."""
        self.tuner.space()


class Model:
    """Stand for `tuner.hypermodel`."""

    def __init__(self, hypermodel):
        self.build = getattr(hypermodel, "build", hypermodel)
