"""extend(): the best trials train on from their last epochs, as one training would have."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import optuna
import pytest
from keras import layers

from kerastune_optuna import ArgumentError, NoTrialsError, OptunaTuner, WeightsError
from kerastune_optuna._backend import set_all
from kerastune_optuna._trial import kept
from tests.conftest import PruneAt, build_model

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(36, 5, 3)).astype("float32"), np.arange(36) % 3
DATA = {"x": X, "y": Y, "validation_data": (X, Y), "batch_size": 8, "verbose": 0}


def chancy(trial):
    """Return a classifier of all layers whose training depends on chance or on a state."""
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ]
    )
    rate = trial.suggest_float("lr", 1e-3, 1e-2)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    return model


def curve(trial):
    """Return what a trial reported, in the order of its epochs."""
    return [value for _, value in sorted(trial.intermediate_values.items())]


@pytest.fixture
def searched(make_tuner):
    """Give a search of two trials of three epochs, of which the second is pruned in its second."""

    def run(build=chancy, **options):
        options = {"keep_best": 2, "pruner": PruneAt([1], 1), **options}
        return make_tuner(build, "val_loss", **options).search(epochs=3, **DATA)

    return run


@pytest.fixture
def extend(data):
    """Give a function that extends trials of `search` on its data."""

    def on(tuner, top=1, epochs=4, **fit):
        x, y, validation = data
        arguments = {"x": x, "y": y, "validation_data": validation, "verbose": 0}
        return tuner.extend(top, epochs, **{**arguments, **fit})

    return on


@pytest.mark.slow
def test_an_extension_is_plain_fit_of_all_its_epochs(searched):
    """Layers with chance and state, and shuffled rows, go on to the last digit, pruned or not."""
    tuner = searched().extend(2, 6, **DATA)
    states = [trial.state.name for trial in tuner.study.trials]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE", "COMPLETE"]
    assert sorted(tuner.results()["extends"].dropna()) == [0, 1]
    for trial in tuner.study.trials[2:]:
        set_all(trial.user_attrs["seed"])
        plain = chancy(trial).fit(**DATA, epochs=6).history["val_loss"]
        assert curve(trial) == plain
    assert np.isclose(tuner.best_model().evaluate(X, Y, verbose=0), tuner.best_value, rtol=1e-6)


@pytest.mark.slow
def test_an_extension_is_reproduced(searched):
    """All of its epochs are trained from the seed of its first one, and agree."""
    tuner = searched().extend(1, 6, **DATA)
    data = {name: DATA[name] for name in ("x", "y", "validation_data")}
    assert tuner.reproduce(2, **data)["difference"].max() == 0  # a warning would be an error


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data shuffles from seeds")
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("is_counted", [True, False])
def test_a_pipeline_shuffles_on(make_tuner, tmp_path, is_counted):
    """An extension on a tf.data pipeline is what a search of all epochs comes to."""
    import tensorflow as tf

    source = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(36, seed=3).batch(8)
    source = source if is_counted else source.filter(lambda x, y: True)
    data = {"x": source, "validation_data": (X, Y), "verbose": 0}
    options = {"n_trials": 1, "objective": "val_loss"}
    whole = make_tuner(chancy, directory=tmp_path / "whole", **options).search(epochs=5, **data)
    tuner = make_tuner(chancy, **options).search(epochs=2, **data).extend(1, 5, **data)
    assert curve(tuner.study.trials[1]) == curve(whole.study.trials[0])


@pytest.mark.slow
def test_extensions_do_not_count_and_are_not_made_twice(search, extend, make_tuner, capsys):
    """The study has room for as many trials as before, and the same call trains nothing."""
    tuner = extend(search(keep_best=2), 2)
    assert len(extend(make_tuner(keep_best=2), 2, verbose=2).study.trials) == 4
    said = "Each of the best 2 trials of study 'test' has all of its epochs already\n"
    assert capsys.readouterr().out == said
    assert len(search(tuner=tuner, fit={"n_trials": 3}).study.trials) == 5
    assert extend(tuner, 1, 6).study.trials[-1].user_attrs["epochs_run"] == 6


class Seeing(optuna.samplers.RandomSampler):
    """Note the trials that are shown."""

    seen: tuple[int, ...] = ()

    def sample_independent(self, study, trial, param_name, param_distribution):
        """Note, and draw."""
        Seeing.seen = tuple(one.number for one in study._get_trials(deepcopy=False))
        return super().sample_independent(study, trial, param_name, param_distribution)


@pytest.mark.slow
def test_the_sampler_does_not_see_extensions(search, extend):
    """A value of more epochs says nothing about those of the search."""
    tuner = extend(search(sampler=Seeing(seed=0)))
    search(tuner=tuner, fit={"n_trials": 3})
    assert Seeing.seen == (0, 1, 3)


@pytest.mark.slow
def test_the_states_of_the_best_alone_are_kept(search, extend):
    """keep_best trials have one file each, and an extension's takes the place of its trial's."""
    tuner = search(keep_best=2, n_trials=4)

    def ends():
        files = os.listdir(tuner._home.folder / "weights")
        return sum(name.endswith((".end", ".backup")) for name in files)

    assert ends() == 2
    extend(tuner, 2)
    assert ends() == 2


@pytest.mark.slow
def test_a_killed_extension_goes_on(tmp_path):
    """A process that dies in an epoch of extend() costs that epoch alone, and not one digit."""
    script = """
    import os, sys
    import keras
    from kerastune_optuna import OptunaTuner
    from tests.rerun.test_extend import DATA, chancy, curve

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            print("epoch", epoch, flush=True)
            if epoch == 4 and sys.argv[2] == "kill":
                os._exit(9)

    options = {"n_trials": 1, "seed": 0, "directory": sys.argv[1], "backup_every": 0}
    tuner = OptunaTuner(chancy, "val_loss", study_name="test", **options)
    tuner.search(epochs=2, **DATA).extend(1, 6, **DATA, callbacks=[Kill()])
    """

    def run(how):
        command = [sys.executable, "-c", textwrap.dedent(script), tmp_path / "tuning", how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, [line for line in done.stdout.splitlines() if "epoch" in line]

    assert run("kill") == (9, ["epoch 2", "epoch 3", "epoch 4"])
    assert run("go on") == (0, ["epoch 4", "epoch 5"])
    options = {"directory": tmp_path / "tuning", "study_name": "test"}
    trial = OptunaTuner(chancy, "val_loss", **options).study.trials[-1]
    set_all(trial.user_attrs["seed"])
    assert curve(trial) == chancy(trial).fit(**DATA, epochs=6).history["val_loss"]


@pytest.mark.slow
def test_data_that_a_trial_makes_is_made_again(make_tuner, data):
    """An extension has the parameters of the function of the trial that made the data."""
    x, y, validation = data

    def rows(trial):
        n = trial.suggest_int("rows", 20, 40)
        return x[:n], y[:n]

    given = {"x": rows, "validation_data": validation, "verbose": 0}
    tuner = make_tuner(n_trials=1).search(epochs=2, **given).extend(1, 3, **given)
    first, extension = tuner.study.trials
    assert extension.params == first.params
    assert len(curve(extension)) == 3


@pytest.mark.slow
def test_a_builder_that_has_changed_is_an_error_before_training(search, extend, make_tuner):
    """What no longer fits is told, and no trial is added."""

    def wider(trial):
        model = build_model(trial)
        model = keras.Sequential([*model.layers[:-1], layers.Dense(5), layers.Dense(3)])
        model.compile("adam", "mse", metrics=["accuracy"])
        return model

    search()
    with (
        pytest.warns(UserWarning, match="code of build_model has changed"),
        pytest.raises(WeightsError, match=r"does not fit what build_model returns now: "),
    ):
        extend(make_tuner(wider))
    assert len(make_tuner().study.trials) == 2


@pytest.mark.slow
def test_a_state_that_is_gone_is_an_error_before_training(search, extend):
    """The error names the trial, and no trial is added."""
    tuner = search()
    for path in (tuner._home.folder / "weights").glob("*.end"):
        path.unlink()
    with pytest.raises(WeightsError, match=r"What trial \d would go on from is lost or damaged"):
        extend(tuner)
    assert len(tuner.study.trials) == 2


@pytest.mark.slow
def test_a_model_that_is_too_large_keeps_no_state(search, extend, monkeypatch):
    """Beyond the stated size nothing is kept, and extend() says so."""
    monkeypatch.setattr(kept, "LARGEST_STATE", 10)
    tuner = search()
    with pytest.raises(WeightsError, match="kept nothing that its training could go on from"):
        extend(tuner)


@pytest.mark.slow
def test_trials_that_cannot_go_on_are_refused(search, extend, make_tuner):
    """Too many of them, too few epochs, several trainings and no trials are errors."""
    with pytest.raises(NoTrialsError, match=r"has no study 'none'\. Call search"):
        extend(make_tuner(study_name="none", directory=search()._home.directory))
    with pytest.raises(ArgumentError, match=r"top=2 is more than keep_best=1"):
        extend(make_tuner(), 2)
    with pytest.raises(ArgumentError, match=r"epochs=2 leaves nothing to train: .* ran 2 epochs"):
        extend(make_tuner(), 1, 2)
    with pytest.raises(ArgumentError, match="is the mean of several trainings"):
        extend(make_tuner(executions_per_trial=2))
    with pytest.raises(ArgumentError, match="backup_every=None keeps nothing"):
        extend(make_tuner(backup_every=None))
