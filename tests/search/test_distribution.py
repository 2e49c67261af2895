"""Models that train on several devices at once, by the strategies of TensorFlow and Keras."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Devices are made of a CPU before the backend starts: each search has a process of its own.
MIRRORED = """
import keras
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
distributed = strategy.scope

def normalisation():
    return keras.layers.BatchNormalization(synchronized=True)

def devices(model):
    return model.distribute_strategy.num_replicas_in_sync
"""
PARALLEL = """
import keras
from contextlib import nullcontext

def distributed():
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    return nullcontext()

normalisation = keras.layers.BatchNormalization

def devices(model):
    return len(model.layers[-1].kernel.value.sharding.device_set)
"""
SEARCH = """
import json, keras, numpy
from kerastune_optuna import OptunaTuner

x, y = numpy.random.default_rng(0).normal(size=(64, 4)).astype("float32"), numpy.arange(64) % 3
training, validation = (x[:32], y[:32]), (x[32:], y[32:])

def build(trial):
    known = [keras.Input((4,))] if trial.number == 0 else []
    units = trial.suggest_int("units", 2, 8)
    with distributed():
        layers = [keras.layers.Dense(units), normalisation(), keras.layers.Dense(3, "softmax")]
        model = keras.Sequential([*known, *layers])
        model.compile("adam", "sparse_categorical_crossentropy")
    return model

tuner = OptunaTuner(build, "val_loss", n_trials=2, keep_best=2, seed=0)
tuner.search(*training, validation_data=validation, epochs=2, verbose=0)
best = tuner.best_models(2)
losses = [model.evaluate(*validation, verbose=0, return_dict=True)["loss"] for model in best]
values = sorted(trial.value for trial in tuner.study.trials)
print(json.dumps([values, losses, [devices(model) for model in best]]))
"""


def came_to(program, folder, backend, **variables):
    """Run a program with a backend in a folder, and return what its last line says."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": backend, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_builder_may_mirror_its_models(tmp_path):
    """Models made under a MirroredStrategy, built or not, are kept and rebuilt on two devices."""
    values, losses, devices = came_to(MIRRORED + SEARCH, tmp_path, "tensorflow")
    assert losses == pytest.approx(values, abs=1e-6)
    assert devices == [2, 2]
