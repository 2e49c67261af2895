"""A guide of KerasTuner runs with this package as it is printed, but for a table of names.

https://keras.io/keras_tuner/guides/getting_started has it, here for small data. Layers have seeds,
and nothing is shuffled, so that two trainings of one configuration come to one value.
"""

from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from keras import layers

from kerastune_optuna import HyperParameters, OptunaTuner, from_keras_tuner
from tests.support.models import in_classes
from tests.test_examples import GUIDES, blocks

# KerasTuner says so of each model that it loads.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")


class Theirs(keras_tuner.RandomSearch):
    """Draw the same in each run, and tell what came of it."""

    def __init__(self, *args, **settings):
        super().__init__(*args, seed=1, **settings)

    def trials(self):
        """Return values and score of each trial."""
        trials = [self.oracle.trials[trial_id] for trial_id in self.oracle.start_order]
        return [(one.hyperparameters.values, one.score) for one in trials]


class Ours(OptunaTuner):
    """Take KerasTuner's names in place of ours."""

    queue = ()  # the values of the first trials: the samplers of the two draw other numbers
    results_summary, search_space_summary = OptunaTuner.summary, OptunaTuner.space
    get_best_models = OptunaTuner.best_models

    def __init__(self, build, objective, *, max_trials, project_name, overwrite, **settings):
        settings |= {"n_trials": max_trials, "study_name": project_name, "sampler": "random"}
        super().__init__(from_keras_tuner(build), objective, pruner="none", seed=1, **settings)
        for values in self.queue:  # by Optuna, since KerasTuner has values that no trial asks for
            self.study.enqueue_trial(values)

    def get_best_hyperparameters(self, num_trials=1):
        """Return the hyperparameters of the best trials."""
        return [HyperParameters(trial) for trial in self.top_trials(num_trials)]

    def trials(self):
        """Return values and value of each trial."""
        return [(HyperParameters(one).values, one.value) for one in self.study.trials]


FITS = []  # a number for each training since the list was last emptied


class Sequential(keras.Sequential):
    """Count the trainings of a model."""

    def fit(self, *args, **kwargs):
        """Train as ever."""
        FITS.append(len(FITS))
        return super().fit(*args, **kwargs)


X, Y = in_classes()
X, Y, X_VAL, Y_VAL = X[:48], keras.utils.to_categorical(Y[:48]), X[48:], Y[48:]
Y_VAL = keras.utils.to_categorical(Y_VAL)
FIT = {"epochs": 2, "batch_size": 16, "shuffle": False, "verbose": 0}
NEW = {"overwrite": True, "directory": "my_dir", "project_name": "helloworld"}


def dense(units, activation):
    """Return a layer that begins with the same weights each time."""
    start = keras.initializers.GlorotUniform(seed=units)
    return layers.Dense(units, activation, kernel_initializer=start)


def build_model(hp):
    model = Sequential([layers.Flatten()])
    for i in range(hp.Int("num_layers", 1, 3)):
        units = hp.Int(f"units_{i}", min_value=4, max_value=32, step=4)
        model.add(dense(units, hp.Choice("activation", ["relu", "tanh"])))
    if hp.Boolean("dropout"):
        model.add(layers.Dropout(0.25, seed=1))
    model.add(dense(3, "softmax"))
    rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
    # Without a graph, whose tracing would take most of a test's time.
    options = {"metrics": ["accuracy"], "run_eagerly": True}
    model.compile(keras.optimizers.Adam(learning_rate=rate), "categorical_crossentropy", **options)
    return model


def first_search(kind, hp):
    """Search, train the best model again, and return the tuner and what came of it."""
    FITS.clear()
    build_model(hp)
    assert hp.Int("units", min_value=4, max_value=32, step=4) == 4
    tuner = kind(build_model, objective="val_loss", max_trials=2, executions_per_trial=2, **NEW)
    tuner.search_space_summary()
    tuner.search(X, Y, validation_data=(X_VAL, Y_VAL), **FIT)
    models = tuner.get_best_models(2)
    losses = [model.evaluate(X_VAL, Y_VAL, verbose=0)[0] for model in models]
    tuner.results_summary()
    best_hps = tuner.get_best_hyperparameters(2)
    model = build_model(best_hps[0])
    model.fit(np.concatenate((X, X_VAL)), np.concatenate((Y, Y_VAL)), **FIT)
    values = [hp.get(name) for hp in best_hps for name in ("num_layers", "units_0", "lr")]
    return tuner, [*losses, *values, len(FITS)]


@pytest.mark.slow
def test_a_guide_comes_to_the_same(tmp_path, monkeypatch):
    """Given the configurations that KerasTuner drew: values, results and trainings."""
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "theirs")
    theirs, expected = first_search(Theirs, keras_tuner.HyperParameters())
    monkeypatch.setattr(Ours, "queue", [values for values, _ in theirs.trials()])
    monkeypatch.chdir(tmp_path / "ours")
    ours, came = first_search(Ours, HyperParameters())
    assert came == pytest.approx(expected, rel=1e-4)
    for (values, value), (others, score) in zip(ours.trials(), theirs.trials(), strict=True):
        assert value == pytest.approx(score, rel=1e-4)
        assert values.items() <= others.items(), "KerasTuner has some that no trial asks for"


@pytest.mark.slow
def test_the_recipe_for_tensorboard_fills_its_tab_of_parameters(tmp_path, monkeypatch):
    """As KerasTuner's guide does by itself: each run has the parameters of its trial."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    monkeypatch.chdir(tmp_path)
    (page,) = (guide for guide in GUIDES if guide.stem == "callbacks-and-fit-arguments")
    names = {}
    for block in (blocks(page)[0], *blocks(page, start="from tensorboard")):
        exec(block, names)
    written = []
    for run in {file.parent for file in Path("logs").rglob("*tfevents*")}:
        of_plugin = EventAccumulator(str(run)).Reload().summary_metadata
        if (tag := metadata.SESSION_START_INFO_TAG) in of_plugin:
            content = of_plugin[tag].plugin_data.content
            started = metadata.parse_session_start_info_plugin_data(content)
            written.append(set(started.hparams))
    assert written == [{"units", "patience", "batch_size", "epochs"}]
