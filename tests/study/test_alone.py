"""A trial that runs out of memory is run again once, alone; then its configuration is bad."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import subprocess
import sys
import time

import keras
import numpy as np
import optuna
import pytest
import tensorflow as tf
from optuna.trial import TrialState

from kerastune_optuna import FailedTrialError, TooManyFailuresError
from kerastune_optuna._backend import shares_memory
from kerastune_optuna._study import alone, retry
from kerastune_optuna._study.opening import DONE
from kerastune_optuna._study.reason import is_of_memory, told
from kerastune_optuna._study.record import ALONE, RETRY_OF
from kerastune_optuna._study.retry import DIED, retry_alone
from tests.support.faults import wait_until
from tests.support.untrained import Untrained, X, build, run, tuner_in

FIRST = "out of memory, run again alone: "
HINT = (
    "; memory ran out: take a smaller batch_size= or smaller models (max_params=, constraints=), "
    "or, where several train, fewer n_workers="
)
HUGE = (1 << 22, 1 << 22)


def raising(error):
    """Return a function that raises an error."""

    def fail():
        raise error

    return fail


def resource_exhausted(text):
    """Return TensorFlow's own error."""
    return tf.errors.ResourceExhaustedError(None, None, text)


SHORT = {
    "python": raising(MemoryError()),
    "numpy": lambda: np.zeros(HUGE) + 1,
    "tensorflow-raised": raising(resource_exhausted("failed to allocate memory")),
    "tensorflow-copy": raising(
        tf.errors.InternalError(None, None, "Dst tensor is not initialized.")
    ),
    "cuda": raising(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublas")),
    "system": raising(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))),
}
OF_BACKENDS = {
    "tensorflow": lambda tf: tf.zeros(HUGE),  # which waits ten seconds for memory
    "jax": lambda jax: jax.numpy.zeros(HUGE).block_until_ready(),
    "jax-raised": lambda jax: raising(
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory.")
    )(),
    "torch": lambda torch: torch.zeros(HUGE),
    "torch-raised": lambda torch: raising(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    )(),
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
    check_that_it_is_told(fails)


@pytest.mark.nightly
@pytest.mark.parametrize("name", OF_BACKENDS)
def test_other_backends_run_out_of_memory(name):
    """So it is with a backend's errors, raised by the test and for want of memory."""
    package = name.partition("-")[0]
    backend = pytest.importorskip(package, reason=f"{package} {LATER}")
    check_that_it_is_told(lambda: OF_BACKENDS[name](backend))


def check_that_it_is_told(fails):
    """Check the line about what a function raises."""
    with pytest.raises(Exception) as got:  # noqa: PT011 - of any kind
        fails()
    assert is_of_memory(got.value)
    line = told(got.value)
    assert line.startswith(type(got.value).__name__)
    assert line.endswith(HINT)
    assert len(line) <= 300
    assert "\n" not in line


@pytest.mark.parametrize("error", OTHERS.values(), ids=OTHERS)
def test_other_errors_are_not_taken_for_it(error):
    """A full disk is none, nor is what the user's own code says of a trial."""
    assert not is_of_memory(error)
    assert HINT not in told(error)


def running_out(numbers):
    """Return a builder that runs out of memory in trials of these numbers, and its trials."""
    seen = []

    def build_or_run_out(trial):
        model = build(trial)
        seen.append((trial.number, dict(trial.params)))
        if numbers(trial.number):
            raise MemoryError("none left")
        return model

    return build_or_run_out, seen


def test_a_trial_is_run_again_with_the_same_parameters(tmp_path):
    """In a process that holds what earlier trials left, one failure for want of memory is none."""
    builder, seen = running_out(lambda number: number == 1)
    tuner = run(tuner_in(tmp_path, builder, "val_mae", keep_best=0), n_trials=4)
    trials = tuner.study.trials
    (retry,) = (one for one in trials if RETRY_OF in one.user_attrs)
    assert [one.number for one in trials if one.state is TrialState.FAIL] == [1]
    assert trials[1].user_attrs["stop_reason"] == f"{FIRST}MemoryError: none left{HINT}"
    assert retry.state in DONE
    assert dict(seen)[1] == retry.params
    assert tuner.results().set_index("number")["retry_of"].dropna().to_dict() == {retry.number: 1}
    assert trials[1].user_attrs["seed"] == retry.user_attrs["seed"]
    assert len(trials) == 5


def test_a_second_failure_is_one_of_the_configuration(tmp_path):
    """A trial that runs out of memory alone has failed: its sampler learns it."""

    def build_small(trial):
        model = build(trial)
        if trial.params["units"] == 900:
            raise MemoryError("none left")
        return model

    tuner = tuner_in(tmp_path, build_small, "val_mae", keep_best=0, max_failed_trials=9)
    tuner.enqueue({"units": 1, "level": 0.0})
    tuner.enqueue({"units": 900, "level": 0.5})
    trials = run(tuner, n_trials=3).study.trials
    tries = [one for one in trials if one.params["units"] == 900]
    reasons = [one.user_attrs["stop_reason"] for one in tries]
    assert reasons == [f"{FIRST}MemoryError: none left{HINT}", f"MemoryError: none left{HINT}"]
    assert [one.state for one in tries] == [TrialState.FAIL] * 2
    assert sum(one.state is not TrialState.FAIL for one in trials) == 3


def test_the_first_trial_of_a_process_has_been_alone(tmp_path):
    """Where nothing else could have held the memory, no trial is run again."""
    builder, seen = running_out(lambda number: number == 0)
    tuner = run(tuner_in(tmp_path, builder, "val_mae", keep_best=0), n_trials=2)
    states = [one.state is TrialState.FAIL for one in tuner.study.trials]
    assert states == [True, False, False]
    assert len(seen) == 3


def test_a_search_without_memory_ends(tmp_path):
    """Where each trial runs out of memory, the error says so, and what helps, in one line."""
    builder, seen = running_out(lambda number: True)
    tuner = tuner_in(tmp_path, builder, "val_mae", max_failed_trials=4)
    with pytest.raises(TooManyFailuresError, match=r"4 trials failed in a row.*none left") as got:
        run(tuner, n_trials=20)
    assert HINT in str(got.value)
    assert len(str(got.value).splitlines()) == 1
    assert len(seen) == 7  # the first one, and three that are run again


@pytest.mark.slow
def test_confirm_runs_an_execution_again(tmp_path):
    """An execution of confirm() that runs out of memory once costs none of its values."""
    fails = []

    def build_once(trial):
        if fails and fails.pop():
            raise MemoryError("none left")
        return build(trial)

    tuner = run(tuner_in(tmp_path, build_once, "val_mae", n_trials=1))
    fails += [True, False, False]  # the second execution: the first one is built twice
    kept = tuner.confirm(1, 3, X, X, validation_data=(X, X), epochs=1, verbose=0)
    assert not fails
    assert kept.missing == 0
    study = optuna.load_study(study_name=kept.study_name, storage=tuner.study._storage)
    states = [one.state.name for one in study.trials]
    assert states.count("COMPLETE") == 3
    assert states.count("FAIL") == 1


@pytest.fixture
def study(make_tuner):
    """Give a study without trials."""
    return make_tuner().study


def test_a_second_try_whose_worker_dies_stays_alone(study):
    """A retry of a retry is what its trial was: the second try, for which others wait."""
    first = study.ask({"units": optuna.distributions.IntDistribution(1, 9)})
    assert retry_alone(study, study.trials[first.number], "MemoryError", waited_for=True)
    second = study.ask()
    assert second.user_attrs[RETRY_OF] == first.number
    assert retry.fail_and_retry(study, study.trials[second.number], DIED)
    third = study.trials[-1]
    assert third.system_attrs[ALONE] is True
    assert alone.is_waited_for(third)


def test_a_gpu_of_ones_own_is_not_waited_for(monkeypatch):
    """Other workers cannot have filled it, but may have filled the memory of the machine."""
    full = resource_exhausted("failed to allocate memory")
    assert shares_memory(full)
    monkeypatch.setenv("KERASTUNE_OPTUNA_OWN_GPU", "1")
    assert not shares_memory(full)
    assert shares_memory(MemoryError())


SCRIPT = """
import resource, sys
import keras, numpy as np, psutil
from kerastune_optuna import OptunaTuner

def build(trial):
    units = trial.suggest_categorical("units", [8, 8_000_000])
    # Built by fit() alone: enqueue() builds models, too, before the memory is limited.
    model = keras.Sequential([keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(trial.suggest_float("rate", 1e-4, 1e-3)), "mse")
    return model

x, y = np.zeros((64, 64), "float32"), np.zeros(64, "float32")
tuner = OptunaTuner(build, "val_loss", n_trials=3, seed=0, directory=sys.argv[1], study_name="test")
for units, rate in ((8, 1e-4), (8_000_000, 2e-4), (8, 3e-4)):
    tuner.enqueue({"units": units, "rate": rate})

def limit(study, trial):
    if trial.number == 0:
        room = psutil.Process().memory_info().vms + 1_500_000_000
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))

fit = {"validation_data": (x, y), "batch_size": 64, "epochs": 2, "verbose": 0}
tuner.search(x, y, on_trial_end=[limit], **fit)
for trial in (one for one in tuner.study.trials if one.state.is_finished()):
    print(trial.state.name, trial.params["units"], trial.user_attrs["stop_reason"])
"""
BACKENDS = {
    "tensorflow": "ResourceExhaustedError: .*OOM",
    "torch": "RuntimeError: .*can't allocate memory",
}


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space so")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_whose_memory_is_limited(tmp_path, backend):
    """A model for which the system has no memory fails twice; the search goes on."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} {LATER}")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    first, second, *_ = (line for line in lines if line.startswith("FAIL 8000000"))
    assert re.match(f"FAIL 8000000 {FIRST}{BACKENDS[backend]}", first)
    assert re.match(f"FAIL 8000000 {BACKENDS[backend]}", second)
    assert first.endswith(HINT)
    assert second.endswith(HINT)
    assert [line.split()[:2] for line in lines].count(["COMPLETE", "8"]) == 3


def crowded(folder):
    """Return a builder whose larger models fit into the memory only where no other trial runs.

    Each trial has a file in the folder from its beginning to its end, and leaves a note. A large
    one waits for company in its first try, so that it fails.
    """

    def beside(trial):
        names = [path.name for path in folder.iterdir() if path.name.isdigit()]
        return [int(name) for name in names if int(name) != trial.number]

    def build_in(trial):
        is_large = trial.suggest_int("units", 2, 8) == 8
        (folder / f"{trial.number}").touch()
        if is_large and RETRY_OF not in trial.user_attrs:
            wait_until(lambda: beside(trial))
        earlier = [int(path.stem) for path in folder.glob("*.json")]
        note = {"process": os.getpid(), "beside": beside(trial), "earlier": earlier}
        (folder / f"{trial.number}.json").write_text(json.dumps(note))
        if is_large and note["beside"]:
            (folder / f"{trial.number}").unlink()
            raise MemoryError("does not fit beside others")
        return Untrained(2, [{"val_mae": 1.0}] * 3)

    def last(trial):
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: time.sleep(0.3),
            on_train_end=lambda logs: (folder / f"{trial.number}").unlink(),
        )

    return build_in, last


@pytest.mark.slow
def test_workers_make_room_for_a_second_try(tmp_path, capfd):
    """A model that fits alone is trained while no other worker trains, in a new process."""
    (folder := tmp_path / "room").mkdir()
    builder, last = crowded(folder)
    tuner = tuner_in(tmp_path, builder, "val_mae", n_trials=6, max_failed_trials=3, keep_best=0)
    for units in (2, 3, 8, 4, 5):
        tuner.enqueue({"units": units})
    run(tuner, n_workers=3, epochs=3, callbacks=[last])
    trials = tuner.study.trials
    first, second = [one for one in trials if one.params.get("units") == 8][:2]
    assert first.user_attrs["stop_reason"].startswith(FIRST)
    assert second.user_attrs[RETRY_OF] == first.number
    assert second.state is TrialState.COMPLETE
    notes = {one.number: json.loads((folder / f"{one.number}.json").read_text()) for one in trials}
    own = notes[second.number]
    assert own["process"] not in {notes[number]["process"] for number in own["earlier"]}
    assert second.number not in {number for note in notes.values() for number in note["beside"]}
    assert sum(one.state is TrialState.COMPLETE for one in trials) == 6
    assert "died" not in capfd.readouterr().err
