"""The history of each trial: the logs of its epochs, as a table among its artifacts."""

import errno

import keras
import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from kerastune_optuna import WeightsError
from kerastune_optuna._study import Objective
from kerastune_optuna._trial.history import save
from kerastune_optuna._trial.ledger import Ledger
from tests.support import falling
from tests.support.models import PruneAt, build_eager, history


def test_each_trial_keeps_the_logs_of_its_epochs(search):
    """A pruned trial has a table too: a row for each epoch, a column for each metric."""
    tuner = search(falling.build, pruner=PruneAt([1]), fit={"epochs": 3})
    complete, pruned = history(tuner, 0), history(tuner, 1)
    assert [list(row) for row in pruned] == [
        ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    ]
    assert [row["epoch"] for row in complete] == ["0", "1", "2"]
    values = tuner.study.trials[0].intermediate_values
    assert [float(row["val_accuracy"]) for row in complete] == [values[step] for step in range(3)]


def test_epochs_without_validation_leave_cells_empty(search):
    """With validation_freq=2 the other epochs have a row, and no value where there was none."""
    tuner = search(build_eager, n_trials=1, fit={"epochs": 3, "validation_freq": 2})
    assert [bool(row["val_loss"]) for row in history(tuner, 0)] == [False, True, False]
    assert all(row["loss"] for row in history(tuner, 0))


def test_what_callbacks_add_to_the_logs_is_in_the_history(search):
    """Whatever it is: text with a comma stays in its cell."""

    def grade(epoch, logs):
        logs["grade"] = "good, for now"

    fit = {"callbacks": [keras.callbacks.LambdaCallback(on_epoch_end=grade)]}
    tuner = search(falling.build, "val_loss", n_trials=1, backup_every=0, fit=fit)
    assert [row["grade"] for row in history(tuner, 0)] == ["good, for now"] * 2


class FullStore(FileSystemArtifactStore):
    """Have no room for files that begin so."""

    def __init__(self, folder, begin):
        super().__init__(folder)
        folder.mkdir()
        self.begin = begin

    def write(self, artifact_id, content_body):
        """Raise as a full disk does, or write."""
        if content_body.read(len(self.begin)) == self.begin:
            raise OSError(errno.ENOSPC, "No space left on device")
        content_body.seek(0)
        super().write(artifact_id, content_body)


FULL = {
    "history": (b"epoch", "history of trial 0 cannot be saved: OSError"),
    "backup": (b"PK", r"Trial 0 could not be backed up: OSError: .*MB are needed"),
}


@pytest.mark.parametrize(("begin", "text"), FULL.values(), ids=FULL)
def test_a_full_disk_costs_no_result(search, make_tuner, data, tmp_path, begin, text):
    """It ends the search with one line, and the trial has its value and its weights."""
    options = {"artifact_store": FullStore(tmp_path / "store", begin), "backup_every": 0}
    with pytest.raises(WeightsError, match=text) as got:
        search(falling.build, "val_loss", **options)
    assert len(str(got.value).splitlines()) == 1
    tuner = make_tuner(falling.build, "val_loss", **options)
    assert len(tuner.study.trials[0].intermediate_values) == 2
    assert tuner.best_value == tuner.study.trials[0].user_attrs["best_value"]
    assert falling.loss_of(tuner.best_model(), data) == pytest.approx(tuner.best_value)


@pytest.mark.parametrize("length", [0, 30, 0.5])
def test_a_table_that_a_power_cut_damaged_is_not_returned(search, capfd, length):
    """The reports of the objective are, and one line says so."""
    tuner = search(falling.build, "val_loss", n_trials=1, fit={"epochs": 4})
    assert len(tuner.history(0).columns) > 2
    (path,) = [
        one
        for one in (tuner._home.folder / "weights").iterdir()
        if one.read_bytes()[:5] == b"epoch"
    ]
    with open(path, "r+b") as file:  # half of it ends with a whole line
        half = b"".join(path.read_bytes().splitlines(keepends=True)[:3])
        file.truncate(len(half) if length == 0.5 else length)
    table = tuner.history(0)
    assert list(table.columns) == ["epoch", "val_loss"]
    assert len(table) == 4
    assert "The history of trial 0 is damaged" in capfd.readouterr().err


def test_the_history_of_a_trial_that_died_before_its_result_is_deleted(
    search, make_tuner, tmp_path
):
    """Its retry has a history of its own; the next search deletes the one that nobody reads."""
    tuner = search(falling.build, "val_loss", n_trials=1)
    died = tuner.study.ask()
    ledger = Ledger(Objective("val_loss", "minimize"))
    ledger.begin(1, 1, 0)
    ledger.take(0, {"val_loss": 0.5})
    assert save(tuner._home.store, died, ledger, tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["tuning"]
    tuner.study.tell(died, state=optuna.trial.TrialState.FAIL)
    assert history(tuner, died.number)
    search(tuner=make_tuner(falling.build, "val_loss", n_trials=1))
    with pytest.raises(ArtifactNotFound):
        history(tuner, died.number)
    assert history(tuner, 0)
