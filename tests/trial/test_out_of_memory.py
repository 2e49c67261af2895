"""A trial that runs out of memory has failed, and says what helps; the search goes on."""

import errno
import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kerastune_optuna import FailedTrialError
from kerastune_optuna._trial.failure import is_of_memory, told
from tests.support.faults import states
from tests.support.untrained import build, run

HINT = (
    "; memory ran out: take a smaller batch_size= or smaller models (max_params=, constraints=), "
    "or, where several train, fewer n_workers="
)
HUGE = (1 << 22, 1 << 22)


def resource_exhausted(text):
    return tf.errors.ResourceExhaustedError(None, None, text)


# Each returns or raises an error.
SHORT = {
    "python": MemoryError,
    "numpy": lambda: np.zeros(HUGE) + 1,
    "tensorflow-raised": lambda: resource_exhausted("failed to allocate memory"),
    "tensorflow-copy": lambda: tf.errors.InternalError(None, None, "Dst tensor is not initialized"),
    "cuda": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublas"),
    "system": lambda: OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
}
OF_BACKENDS = {
    "tensorflow": lambda tf: tf.zeros(HUGE),  # which waits ten seconds for memory
    "jax": lambda jax: jax.numpy.zeros(HUGE).block_until_ready(),
    "jax-raised": lambda jax: jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory."),
    "torch": lambda torch: torch.zeros(HUGE),
    "torch-raised": lambda torch: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2"),
}
LATER = "is not installed; .ci/nightly installs it"
OTHERS = {
    "disk": resource_exhausted("No space left on device"),
    "user": FailedTrialError("out of memory, as expected"),
    "word": ValueError("too many units to allocate to three heads"),
}


@pytest.mark.parametrize("fails", SHORT.values(), ids=SHORT)
def test_a_lack_of_memory_is_recognised(fails):
    """Whatever says that memory ran out, one line tells it, and what helps."""
    try:
        error = fails()
    except Exception as raised:
        error = raised
    assert is_of_memory(error)
    line = told(error)
    assert line.startswith(type(error).__name__)
    assert line.endswith(HINT)
    assert len(line) <= 300
    assert "\n" not in line


@pytest.mark.nightly
@pytest.mark.parametrize("name", OF_BACKENDS)
def test_other_backends_run_out_of_memory(name):
    """So it is with a backend's errors, of its own making and for want of memory."""
    package = name.partition("-")[0]
    backend = pytest.importorskip(package, reason=f"{package} {LATER}")
    test_a_lack_of_memory_is_recognised(lambda: OF_BACKENDS[name](backend))


@pytest.mark.parametrize("error", OTHERS.values(), ids=OTHERS)
def test_other_errors_are_not_taken_for_it(error):
    """A full disk is none, nor is what the user's own code says of a trial."""
    assert not is_of_memory(error)
    assert HINT not in told(error)


def test_a_search_goes_on_after_a_lack_of_memory(quick):
    """Its trial is FAIL, says what helps, and another one is trained in its place."""

    def build_or_run_out(trial):
        if trial.number == 1:
            raise MemoryError("none left")
        return build(trial)

    tuner = run(quick(build_or_run_out, n_trials=2, pruner="none"))
    assert states(tuner) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert tuner.results()["stop_reason"][1] == f"MemoryError: none left{HINT}"


SCRIPT = """
import resource, sys
import keras, numpy as np, psutil
from kerastune_optuna import OptunaTuner

def build(trial):
    units = 8_000_000 if trial.number == 1 else 8
    model = keras.Sequential([keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(trial.suggest_float("rate", 1e-4, 1e-3)), "mse")
    return model

x, y = np.zeros((64, 64), "float32"), np.zeros(64, "float32")
tuner = OptunaTuner(build, "val_loss", n_trials=3, seed=0, directory=sys.argv[1], study_name="test")

def limit(study, trial):
    if trial.number == 0:
        room = psutil.Process().memory_info().vms + 1_500_000_000
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))

fit = {"validation_data": (x, y), "batch_size": 64, "epochs": 2, "verbose": 0}
tuner.search(x, y, on_trial_end=[limit], **fit)
for trial in tuner.study.trials:
    print(trial.state.name, trial.user_attrs["stop_reason"])
"""
BACKENDS = {
    "tensorflow": "ResourceExhaustedError: .*OOM",
    "torch": "RuntimeError: .*can't allocate memory",
}


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space so")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_whose_memory_is_limited(tmp_path, backend):
    """A model for which the system has no memory fails; the search goes on."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} {LATER}")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    env = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert re.match(f"FAIL {BACKENDS[backend]}", lines[1])
    assert lines[1].endswith(HINT)
