"""The user's callbacks: one list, copies for each trial, folders of their own."""

import sys
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from types import ModuleType, SimpleNamespace

import keras
import pytest
from keras.src.utils import module_utils
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kerastune_optuna import ArgumentTypeError
from tests.support import falling
from tests.support.models import PruneAt


class Counter(keras.callbacks.Callback):
    """Count epochs, as a callback does that never resets."""

    def __init__(self):
        super().__init__()
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        """Count, and put the count among the metrics."""
        self.epochs += 1
        logs["count"] = float(self.epochs)


def test_each_trial_gets_copies(search):
    """One that logs the objective and counts begins anew, and the user's own stays as it is."""
    counter = Counter()
    fit = {"callbacks": [counter]}
    tuner = search(falling.build, "count", direction="maximize", fit=fit)
    assert [trial.value for trial in tuner.study.trials] == [2.0, 2.0]
    assert counter.epochs == 0


@pytest.mark.slow
def test_tensorboard_has_a_closed_file_for_each_trial(search, tmp_path):
    """Each trial is a run of its own, readable to the end, the pruned one too."""
    board = keras.callbacks.TensorBoard(str(tmp_path / "logs"))
    search(pruner=PruneAt([1]), fit={"epochs": 3, "callbacks": [board]})
    for number, epochs in ((0, 3), (1, 1)):
        run = tmp_path / "logs" / "test" / f"trial_{number:04d}" / "validation"
        events = EventAccumulator(str(run)).Reload()
        assert len(events.Tensors("epoch_loss")) == epochs


def test_csv_logger_has_a_file_for_each_trial(search, tmp_path):
    """Each trial writes a log of its own, with a line for each epoch."""
    fit = {"callbacks": keras.callbacks.CSVLogger(tmp_path / "log.csv")}
    search(falling.build, "val_loss", fit=fit)
    for number in range(2):
        log = tmp_path / "test" / f"trial_{number:04d}" / "log.csv"
        assert len(log.read_text().splitlines()) == 1 + 2


@pytest.mark.slow
def test_model_checkpoint_has_a_file_for_each_trial(search, data, tmp_path):
    """No trial overwrites the checkpoint of another: each is the model of its last epoch."""
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"))
    tuner = search(objective="val_loss", fit={"callbacks": [checkpoint]})
    for trial in tuner.study.trials:
        path = tmp_path / "test" / f"trial_{trial.number:04d}" / "model.keras"
        loss, _ = keras.models.load_model(path).evaluate(*data[2], verbose=0)
        assert loss == pytest.approx(trial.intermediate_values[1], abs=1e-6)


class Checkpointer:
    """Stand in for what orbax-checkpoint writes with, which opens its folder at once."""

    def __init__(self, directory, **policies):
        self.path, self.lock = Path(directory), Lock()  # by which it has no copy
        self.path.mkdir(parents=True, exist_ok=True)

    def save_checkpointables(self, step, payload):
        """Write what there is to see."""
        (self.path / str(step)).write_text(str(sorted(payload)))

    def close(self):
        """Have nothing to close."""


@pytest.fixture
def orbax(monkeypatch):
    if not hasattr(keras.callbacks, "OrbaxCheckpoint"):
        pytest.skip("this Keras has no OrbaxCheckpoint")
    policies = SimpleNamespace(LatestN=int, FixedIntervalPolicy=int)
    training = SimpleNamespace(
        Checkpointer=Checkpointer, preservation_policies=policies, save_decision_policies=policies
    )
    package = ModuleType("orbax.checkpoint")
    package.v1 = SimpleNamespace(training=training, Context=nullcontext)
    package.multihost = SimpleNamespace(is_jax_distributed_client_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", package)
    monkeypatch.setattr(module_utils.ocp, "module", None)  # which Keras sets where it imports it


def test_orbax_checkpoint_has_a_folder_for_each_trial(search, tmp_path, orbax):
    """Each trial opens one of its own with the same arguments, as no copy of one can be made."""
    shared = keras.callbacks.OrbaxCheckpoint(
        tmp_path / "all", save_on_background=False, save_weights_only=True, max_to_keep=3
    )
    search(falling.build, "val_loss", fit={"callbacks": [shared]})
    assert not any(path.is_file() for path in (tmp_path / "all").iterdir())
    for number in range(2):
        folder = tmp_path / "all" / "test" / f"trial_{number:04d}"
        assert sorted(path.name for path in folder.iterdir()) == ["0", "1"]
        assert (folder / "1").read_text() == "['pytree']"


def test_a_factory_that_returns_no_callback_is_refused(search):
    """The error shows the factory and what it returned."""
    with pytest.raises(ArgumentTypeError, match="which returned 7"):
        search(falling.build, "val_loss", fit={"callbacks": [lambda trial: 7]})
