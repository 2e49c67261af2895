"""The user's callbacks: one list, copies for each trial, folders of their own."""

import keras
import pytest
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


def test_a_factory_that_returns_no_callback_is_refused(search):
    """The error shows the factory and what it returned."""
    with pytest.raises(ArgumentTypeError, match="which returned 7"):
        search(falling.build, "val_loss", fit={"callbacks": [lambda trial: 7]})
