"""A trial is plain Model.fit with its seed, digit by digit, in short and long trainings.

`python -m tests.benchmarks.zoo`, which .ci/nightly runs, trains models of all kinds so.
"""

from __future__ import annotations

import keras
import optuna
import pytest

from kerastune_optuna import OptunaTuner
from tests.benchmarks import zoo
from tests.support.models import history
from tests.zoo.animal import SPARSE, Animal, trained_plainly
from tests.zoo.layers import table

OF_LAYERS = ["conv_batch_norm", "augmentation", "attention", "unbuilt_batch_norm", "mixed_float16"]
OF_MODELS = ["ema", "adamw_clipped", "batch_size", "vae_add_loss", "diffusion"]
OF_DATA = ["text_objects", "tf_data_of_trial", "generator_function", "grain_map", "grain_iter"]
OF_DATA += ["grain_loader", "grain_endless", "grain_function"]
LONG = ["many_steps_a_call", "many_steps_dropout", "many_steps_lstm", "many_steps_sampling"]
LONG += ["grain_many_steps"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Keras, of some data
@pytest.mark.parametrize("name", [*OF_LAYERS, *OF_MODELS, *OF_DATA, *LONG])
def test_a_trial_is_plain_fit(name, monkeypatch, tmp_path):
    """Its epochs are those of Model.fit, and its best model has their weights and its value."""
    monkeypatch.setattr(zoo, "N_TRIALS", 1)
    came = [step([name], 1, tmp_path)[name] for step in (zoo.searched, zoo.compared)]
    assert zoo.verdict(*came) == (zoo.EQUAL, "")


def with_dropout(trial):
    """Return a classifier that soon gets worse."""
    layers = [keras.layers.Dropout(0.3), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, "relu"), *layers])
    model.compile(keras.optimizers.Adam(0.05), SPARSE, run_eagerly=True)
    return model


def with_other_classes():
    """Return data whose validation gets worse the longer a model trains."""
    data = table()
    x, y = data["validation_data"]
    return {**data, "validation_data": (x, (y + 1) % 3)}


def test_backups_change_no_digit(tmp_path):
    """A training that is backed up after epochs that are worse than the best draws as plain fit."""
    animal = Animal(with_dropout, with_other_classes)
    options = {"n_trials": 1, "directory": tmp_path, "backup_every": 0}
    tuner = OptunaTuner(with_dropout, "val_loss", **options).search(**animal.arguments, verbose=0)
    attrs = tuner.best_trial.user_attrs
    plain = trained_plainly(animal, optuna.trial.FixedTrial({}), attrs["seed"])
    rows = [{name: float(row[name]) for name in plain.rows[0]} for row in history(tuner, 0)]
    assert rows == plain.rows
    assert attrs["best_epoch"] < len(rows) - 1
