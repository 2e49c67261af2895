"""Train each trial on several hosts at once with JAX, here on two processes of this machine.

Run it as `python examples/several_hosts.py`, after `pip install "kerastune_optuna[examples,jax]"`.
This process asks and tells, and starts for each trial one member a host; they train one model, each
on its share of the rows. Where one dies, the others are ended, and the trial has failed, once.

On real hosts, run it on the first one, and set COORDINATOR to its address, START to the commands
that start Python on each, like `["ssh", "-tt", "node2", "python"]`, and FOLDER to one that all of
them see. Where a trial is pruned, JAX may print that a member was terminated, with a traceback.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides most of TensorFlow's log

import jax
import keras
import numpy as np
from optuna.trial import FixedTrial

from kerastune_optuna import OptunaTuner

COORDINATOR = "127.0.0.1"
START = [[sys.executable], [sys.executable]]
FOLDER = None  # one of this machine
EPOCHS, BATCH = 5, 16  # rows of a step, on all hosts together


def load() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return rows to train on and rows to validate with."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 192)
    x = (rng.normal(size=(192, 4)) + 2 * np.eye(3, 4)[y]).astype("float32")
    return (x[:128], y[:128]), (x[128:], y[128:])


def network(trial: Any) -> keras.Model:
    """Return the compiled model of a trial."""
    units = trial.suggest_int("units", 4, 64, log=True)
    rate = trial.suggest_float("rate", 1e-3, 1e-1, log=True)
    layers = [keras.layers.Dense(units, "relu"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


class OnHosts:
    """Build the model of a trial, and have the hosts train it."""

    def __call__(self, trial: Any) -> keras.Model:
        """Return the model, which this process gives the weights of each epoch."""
        return network(trial)

    def fit(self, trial: Any, model: keras.Model, *, callbacks: list, **_: Any) -> Any:
        """Show the callbacks what the hosts log; a trial that they prune ends the hosts, too."""
        history = keras.callbacks.History()
        called = [*callbacks, history]
        shown = keras.callbacks.CallbackList(called, model=model, epochs=EPOCHS)
        with tempfile.TemporaryDirectory(dir=FOLDER) as name, members(trial, Path(name)) as alive:
            shown.on_train_begin()
            for epoch, logs in enumerate(logged(alive, Path(name))):
                shown.on_epoch_begin(epoch)
                with np.load(Path(name) / f"{epoch}.npz") as weights:
                    model.set_weights(list(weights.values()))
                shown.on_epoch_end(epoch, logs)
                if model.stop_training:
                    break
            shown.on_train_end()
        return history


@contextmanager
def members(trial: Any, folder: Path) -> Iterator[list[subprocess.Popen]]:
    """Start a member on each host, and end those that are left."""
    with socket.create_server(("", 0)) as free:
        address = f"{COORDINATOR}:{free.getsockname()[1]}"
    job = {"address": address, "params": trial.params, "seed": trial.number, "folder": str(folder)}
    (folder / "job.json").write_text(json.dumps(job))  # a shell of ssh's would take its quotes
    alive = [
        subprocess.Popen([*start, os.path.abspath(__file__), str(rank), str(folder)])
        for rank, start in enumerate(START)
    ]
    try:
        yield alive
    finally:
        for member in alive:
            member.kill()
            member.wait()


def logged(alive: list[subprocess.Popen], folder: Path) -> Iterator[dict[str, float]]:
    """Yield the logs of each epoch, until all members have ended.

    Raises:
        RuntimeError: One of them died.
    """
    codes: list[int | None] = [None]
    epoch = 0
    while None in codes:
        codes = [member.poll() for member in alive]
        while (path := folder / f"{epoch}.json").exists():
            yield json.loads(path.read_text())
            epoch += 1
        if dead := [rank for rank, code in enumerate(codes) if code]:
            raise RuntimeError(f"the member on host {dead[0]} died ({codes[dead[0]]})")
        time.sleep(0.1)


def be_member(rank: int, job: dict[str, Any]) -> None:
    """Train the model of a trial together with the other members."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # GPUs need no such line
    jax.distributed.initialize(job["address"], len(START), rank)
    # Each member reads its own rows: Keras is not to share them out again.
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    keras.utils.set_random_seed(job["seed"])  # the same weights on each host
    model, (train, validation) = network(FixedTrial(job["params"])), load()
    x, y = (rows[rank :: len(START)] for rows in train)
    own = tuple(rows[rank :: len(START)] for rows in validation)
    tell = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: write(model, Path(job["folder"]), epoch, logs)
    )
    model.fit(
        x,
        y,
        validation_data=own,
        batch_size=BATCH // len(START),
        epochs=EPOCHS,
        verbose=0,
        callbacks=[tell] if rank == 0 else [],
    )


def write(model: keras.Model, folder: Path, epoch: int, logs: dict[str, float]) -> None:
    """Write the weights of an epoch, and then, at once, what was logged."""
    # Each host has them whole. save_weights() here would wait for the other hosts to call it, too.
    np.savez(folder / str(epoch), *(one.value.addressable_data(0) for one in model.weights))
    (folder / "new").write_text(json.dumps({key: float(value) for key, value in logs.items()}))
    (folder / "new").rename(folder / f"{epoch}.json")


def main() -> None:
    """Search, and show that the best model is the one that the hosts trained."""
    tuner = OptunaTuner(OnHosts(), "val_accuracy", n_trials=2, seed=0, backup_every=None)
    train, validation = load()
    tuner.search(*train, validation_data=validation, epochs=EPOCHS)
    tuner.summary(2)
    _, accuracy = tuner.best_model().evaluate(*validation, verbose=0)
    print(f"Accuracy of the best model: {accuracy:.4f}, as the hosts found: {tuner.best_value:.4f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        be_member(int(sys.argv[1]), json.loads(Path(sys.argv[2], "job.json").read_text()))
    else:
        main()
