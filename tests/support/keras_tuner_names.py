"""KerasTuner under one face, and this package under the same: all that differs is in the table."""

from __future__ import annotations

import functools

import keras
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
    """Give KerasTuner's names, and remember the tuners that are made of them."""

    HyperModel, HyperParameters = keras_tuner.HyperModel, keras_tuner.HyperParameters
    Objective, errors = keras_tuner.Objective, keras_tuner.errors

    def __init__(self):
        self.tuners = []
        for name in TUNERS:
            setattr(self, name, functools.partial(self._make, getattr(keras_tuner, name)))

    def _make(self, kind, *args, tailor=None, **settings):
        if tailor is not None:
            settings["hyperparameters"] = keras_tuner.HyperParameters()
            tailor(settings["hyperparameters"])
        self.tuners.append(kind(*args, seed=1, **settings))
        return self.tuners[-1]

    def black_box(self, function, **settings):
        """Return a tuner whose trials call a function of hp, which returns a number."""

        class Tuner(keras_tuner.RandomSearch):
            def run_trial(self, trial, *args, **kwargs):
                return function(trial.hyperparameters)

        return self._make(Tuner, **settings)

    def trials(self):
        """Return state, values and score of each trial of each tuner."""
        # A trial that raised a FatalError is left as it was.
        states = {"COMPLETED": "COMPLETE", "FAILED": "FAIL", "RUNNING": "FAIL"}
        oracles = [tuner.oracle for tuner in self.tuners]
        trials = [[one.trials[trial_id] for trial_id in one.start_order] for one in oracles]
        return [
            [(states[one.status], dict(one.hyperparameters.values), one.score) for one in several]
            for several in trials
        ]


class Ours:
    """Give this package's names in their place.

    Args:
        queues: For each tuner the values that its first trials are to have, so that they can be
            compared with KerasTuner's: the samplers of the two draw other numbers.
    """

    HyperModel, HyperParameters = object, HyperParameters
    errors = kerastune_optuna

    def __init__(self, queues=()):
        self.tuners, self._queues = [], list(queues)
        for name, settings in TUNERS.items():
            setattr(self, name, functools.partial(self._make, **settings))

    @staticmethod
    def Objective(name, direction):  # noqa: N802 KerasTuner's name
        """Return the two arguments of OptunaTuner."""
        return {"objective": name, "direction": f"{direction}imize"}

    def black_box(self, function, **settings):
        """Return a tuner whose trials call a function of hp: a HyperModel without a real model."""

        class BlackBox:
            def build(self, hp):
                return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

            def fit(self, hp, model, *args, **kwargs):
                return function(hp)

        return self.RandomSearch(BlackBox(), **settings)

    def _make(self, hypermodel, objective="objective", *, tailor=None, **settings):
        if objective == "objective":
            settings["direction"] = "minimize"
        named = objective if isinstance(objective, dict) else {"objective": objective}
        compiling = {"optimizer", "loss", "metrics"} & set(settings)
        overrides = {name: settings.pop(name) for name in compiling}
        built = hypermodel
        if tailor:
            built = _tailored(built, tailor, settings.pop("tune_new_entries", True))
        built = _compiled(built, overrides) if overrides else built
        self.epochs = settings.pop("max_epochs", None)
        renamed = {
            ARGUMENTS.get(name, name): value
            for name, value in settings.items()
            if name not in NO_COUNTERPART
        }
        queue = self._queues.pop(0) if self._queues else ()
        renamed["overwrite"] = renamed.get("overwrite", False) and not queue
        tuner = OptunaTuner(from_keras_tuner(built), seed=1, keep_best=2, **named, **renamed)
        self.tuners.append(tuner)
        for values in queue:  # Optuna's own, since KerasTuner has values that its trial never asks
            tuner.study.enqueue_trial(values)
        return Renamed(tuner, hypermodel, self.epochs)

    def trials(self):
        """Return state, values and score of each trial of each tuner."""
        return [
            [(one.state.name, HyperParameters(one).values, one.value) for one in tuner.study.trials]
            for tuner in self.tuners
        ]


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


def _tailored(hypermodel, tailor, tune_new_entries):
    """Return a builder that asks first for what is overridden, whatever the other asks for."""

    def build(hp):
        tailor(hp)
        return hypermodel(hp if tune_new_entries else hp.copy())

    return build


def _compiled(hypermodel, overrides):
    """Return a builder whose model is compiled anew."""

    def build(hp):
        model = hypermodel(hp)
        model.compile(**{"optimizer": model.optimizer, **_fresh(overrides)}, run_eagerly=True)
        return model

    return build


def _fresh(overrides):
    """Return the arguments of compile() with an optimizer of its own for each trial."""
    copied = dict(overrides)
    if isinstance(optimizer := copied.get("optimizer"), keras.optimizers.Optimizer):
        copied["optimizer"] = type(optimizer).from_config(optimizer.get_config())
    return copied
