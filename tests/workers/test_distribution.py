"""Models that train on several devices or hosts at once, by strategies of TensorFlow and Keras."""

import json
import re
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.test_examples import BEST, INDEX
from tests.workers.test_processes import printed

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
BUILD = """
import json, keras, numpy
from kerastune_optuna import OptunaTuner

x, y = numpy.random.default_rng(0).normal(size=(64, 4)).astype("float32"), numpy.arange(64) % 3
training, validation = (x[:32], y[:32]), (x[32:], y[32:])

def build(trial):
    known = [keras.Input((4,))] if trial.number % 2 == 0 else []
    units = trial.suggest_int("units", 2, 8)
    with distributed():
        layers = [keras.layers.Dense(units), normalisation(), keras.layers.Dense(3, "softmax")]
        model = keras.Sequential([*known, *layers])
        model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""
# Its first trial is interrupted in its second epoch, and goes on from the backup of the first one.
SEARCH = f"""{BUILD}
seen = []

def interrupt(epoch, logs):
    seen.append(epoch)
    if len(seen) == 2:
        raise KeyboardInterrupt

interrupting = lambda trial: keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
tuner = OptunaTuner(build, "val_loss", n_trials=2, keep_best=2, seed=0, backup_every=0)
fit = dict(validation_data=validation, epochs=3, verbose=0, callbacks=[interrupting])
try:
    tuner.search(*training, **fit)
except KeyboardInterrupt:
    tuner.search(*training, **fit)
assert seen == [0, 1, 1, 2, 0, 1, 2], seen
best = tuner.best_models(2)
losses = [model.evaluate(*validation, verbose=0, return_dict=True)["loss"] for model in best]
values = sorted(trial.value for trial in tuner.study.trials if trial.value is not None)
print(json.dumps([values, losses, [devices(model) for model in best]]))
"""


def came_to(program, folder, backend, **variables):
    lines = printed("-c", program, cwd=folder, KERAS_BACKEND=backend, **variables)
    return json.loads(lines[-1])


@pytest.mark.nightly
def test_a_builder_may_mirror_its_models(tmp_path):
    """Models made under a MirroredStrategy, built or not, go on and are kept on two devices."""
    values, losses, devices = came_to(MIRRORED + SEARCH, tmp_path, "tensorflow")
    assert losses == pytest.approx(values, abs=1e-6)
    assert devices == [2, 2]


def kill_one(parent, rank, killed):
    """Kill the member of this rank that is seen first, in the middle of its start or training."""
    while not killed and parent.poll() is None:
        for child in psutil.Process(parent.pid).children():
            if rank in child.cmdline():
                time.sleep(3)
                child.kill()
                killed.append(child.pid)
                return
        time.sleep(0.1)


@pytest.mark.nightly
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_member_that_dies_fails_its_trial_once(tmp_path, rank):
    """Two processes train each trial; one is killed: that trial is FAIL, and two others end."""
    pytest.importorskip("jax", reason="JAX is not installed; .ci/nightly installs it")
    killed = []
    command = [sys.executable, str(INDEX.parent / "several_hosts.py")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as script:
        killer = threading.Thread(target=kill_one, args=(script, rank, killed))
        killer.start()
        printed, _ = script.communicate(timeout=900)
        killer.join()
    assert script.returncode == 0, printed
    assert len(killed) == 1
    assert re.findall(
        r"^Trial (\d+): failed: .* member on host \d died", printed, re.MULTILINE
    ) == ["0"]
    ended = re.findall(r"^Trial (\d+): best val_accuracy ", printed, re.MULTILINE)
    assert sorted(map(int, ended)) == [1, 2]
    accuracy = re.search(r"Accuracy of the best model: (\S+), as the hosts found: (\S+)", printed)
    assert accuracy[1] == accuracy[2]
    assert float(BEST.search(printed)[1]) == pytest.approx(float(accuracy[1]), abs=1e-4)
