"""A trial trained again: in a process of its own, or by the tuner."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import warnings

import keras
import numpy as np
import optuna
import pytest

from kerastune_optuna import ArgumentError, OptunaTuner
from kerastune_optuna._study.opening import REPEAT_OF
from kerastune_optuna._workers import bundle
from tests.conftest import PruneAt, build_model


def noisy(trial):
    """Return an unbuilt model with chance in it, and a size of batches."""
    model = build_model(trial)
    other = keras.Sequential([keras.layers.Dropout(0.3), *model.layers])
    other.compile(model.optimizer, model.loss, metrics=["accuracy"])
    return other, {"batch_size": trial.suggest_categorical("batch_size", [8, 16])}


def command(tuner, *arguments):
    """Run `kerastune-optuna reproduce` in a new process."""
    return subprocess.run(
        [sys.executable, "-m", "kerastune_optuna", "reproduce", tuner.directory, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def values(data):
    """Return data as functions that load it."""
    x, y, validation = data
    return {"x": lambda: x, "y": lambda: y, "validation_data": lambda: validation}


@pytest.fixture(params=["arrays", "functions"])
def searched(request, search, data):
    """Give a tuner that has searched three trials, of which one was pruned."""

    def build(trial):
        return noisy(trial)

    class Halve(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2

    fit = {"epochs": 3, "callbacks": [Halve()]}
    fit |= values(data) if request.param == "functions" else {}
    return search(build, "val_loss", n_trials=3, pruner=PruneAt([1], step=1), fit=fit)


def test_trials_are_reproduced_in_a_new_process(searched):
    """All epochs of all metrics are equal, of a pruned trial as far as it came."""
    done = command(searched, "--trial", "0", "--trial", "1", "--trial", "2", "--tolerance", "1e-6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"Trial (\d) is reproduced: the largest difference is", done.stdout) == [
        *"012"
    ]
    assert re.findall(r"^ *(\d) ", done.stdout, re.MULTILINE) == [*"123", *"12", *"123"]
    assert "Not as it was" not in done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Give the folder of a study of one trial of two epochs, which no test may change."""
    folder = tmp_path_factory.mktemp("finished") / "tuning"
    options = {"n_trials": 1, "seed": 0, "directory": folder, "study_name": "test"}
    y = np.arange(24) % 3
    x = np.eye(3, 4)[y].astype("float32")
    tuner = OptunaTuner(build_model, **options)
    tuner.search(x, y, validation_data=(x, y), epochs=2, verbose=0)
    return folder


@pytest.fixture
def one(finished, make_tuner, tmp_path):
    """Give a tuner with a study of one trial."""
    shutil.copytree(finished, tmp_path / "tuning")
    return make_tuner(n_trials=1)


def test_the_tuner_reproduces_too(search, make_tuner):
    """Where no histories are kept, the values of the objective are compared."""
    search(noisy, n_trials=2, keep_best=0)
    frame = make_tuner(noisy, keep_best=0).reproduce(1)
    assert list(frame["metric"]) == ["val_accuracy"] * 2
    assert list(frame["epoch"]) == [0, 1]
    assert frame["difference"].max() <= 1e-6


class Own:
    """Train models by a fit of its own, which tells no more than a number."""

    def __call__(self, trial):
        """Build a model."""
        return build_model(trial)

    def fit(self, trial, model, **arguments):
        """Train it, and return its last loss."""
        return model.fit(**{**arguments, "callbacks": []}).history["val_loss"][-1]


def test_a_builders_own_fit_is_compared_by_what_it_returns(search, data):
    """And refit() returns it too."""
    tuner = search(Own(), "val_loss", n_trials=1)
    (row,) = tuner.reproduce(0).to_dict("records")
    assert row["recorded"] == tuner.best_value
    assert row["difference"] <= 1e-6
    x, y, validation = data
    _, came = tuner.refit(x, y, 2, validation_data=validation, verbose=0)
    assert came == pytest.approx(tuner.best_value, abs=1e-6)


def test_metrics_that_keras_numbers_are_compared(search, data):
    """Unnamed ones have another number in each model of a process."""

    def build(trial):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
        metrics = [keras.metrics.AUC(curve=curve) for curve in ("ROC", "PR")]
        model.compile("sgd", "binary_crossentropy", metrics=metrics)
        return model

    fit = {"y": data[1] == 0, "validation_data": None, "epochs": 1}
    frame = search(build, "loss", n_trials=1, fit=fit).reproduce(0)
    assert len(frame) == 3
    assert frame["difference"].max() <= 1e-6


def test_the_study_and_the_files_of_its_trial_stay(search, tmp_path):
    """Callbacks write into a folder beside that of the trial."""
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    tuner = search(n_trials=1, fit={"epochs": 1, "callbacks": [logger]})
    file = tmp_path / "test" / "trial_0000" / "log.csv"
    before = tuner.study.trials, tuner.study.user_attrs, file.stat().st_mtime_ns
    frame = tuner.reproduce(0)
    assert set(frame["metric"]) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert (tuner.study.trials, tuner.study.user_attrs, file.stat().st_mtime_ns) == before
    assert (tmp_path / "test" / "reproduced_0000" / "log.csv").exists()


def test_what_has_changed_is_told_in_one_line(one):
    """Versions, data and seeds: what they were, and what they are."""
    key = f"card:{one.study.trials[0].user_attrs['card']}"
    card = one.study.user_attrs[key]
    other = {**card, "versions": {**card["versions"], "keras": "2.0"}, "seed": 7}
    other["data"] = {**card["data"], "x": "float32(24, 4) 0123456789ab"}
    one.study.set_user_attr(key, other)
    with pytest.warns(UserWarning, match="^Not as it was when trial 0 ran: ") as told:
        frame = one.reproduce(0)
    (line,) = str(told[0].message).splitlines()
    assert f'versions keras was "2.0" and is "{keras.__version__}"' in line
    assert 'data x was "float32(24, 4) 0123456789ab" and is "float32(24, 4) ' in line
    assert "seed was 7 and is 0" in line
    assert "its seed was " in line
    assert frame["difference"].max() == 0  # nothing of it is true


def test_another_seed_gives_another_training(one, capsys, monkeypatch):
    """A trial whose seed is not the one that its search gave it is not reproduced."""
    from kerastune_optuna import __main__ as cli

    trial = one.study.trials[0]
    one.study.add_trial(
        optuna.trial.create_trial(
            params=trial.params,
            distributions=trial.distributions,
            value=trial.value,
            intermediate_values=trial.intermediate_values,
            user_attrs={**trial.user_attrs, "seed": 5},
        )
    )
    given = ["kerastune-optuna", "reproduce", str(one.directory), "--trial", "1"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().out
    assert ended.value.code == 1
    assert re.search(r"Not as it was when trial 1 ran: its seed was \d+ and is 5\n", told)
    assert "Trial 1 is NOT reproduced: the largest difference is 0." in told


def test_data_that_is_large_is_passed_again(search, data, monkeypatch):
    """It is not kept, and the error names it."""
    monkeypatch.setattr(bundle, "_LARGEST", 5000)
    x, y = np.tile(data[0], (10, 1)), np.tile(data[1], 10)
    tuner = search(n_trials=1, fit={"x": x, "y": y, "class_weight": {0: 2.0, 1: 1.0, 2: 1.0}})
    with pytest.raises(ArgumentError, match="x was too large to be kept beside"):
        tuner.reproduce(0)
    frame = tuner.reproduce(0, x, y, validation_data=data[2])
    assert frame["difference"].max() <= 1e-6


def test_what_cannot_be_pickled_is_told(search):
    """The search runs as ever, and the card says why nothing was kept."""
    lock = threading.Lock()

    def build(trial):
        with lock:
            return build_model(trial)

    tuner = search(build, n_trials=1)
    with pytest.raises(ArgumentError, match=r"Nothing was kept.*TypeError: cannot pickle.*refit"):
        tuner.reproduce(0)


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("seed", [None, 3])
def test_a_trial_on_a_dataset_that_shuffles_is_reproduced(search, data, seed, n_workers):
    """Whatever was trained on it before, and whether shuffle() has a seed or not."""
    import tensorflow as tf

    x, y, _ = data
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(48, seed=seed).batch(8)
    tuner = search(n_trials=2, fit={"x": dataset, "y": None, "n_workers": n_workers})
    with warnings.catch_warnings():
        # Workers have threads of their own, which are told.
        warnings.simplefilter("error" if n_workers == 1 else "ignore")
        assert tuner.reproduce(1)["difference"].max() == 0


def test_a_file_that_is_damaged_is_not_read(one):
    """Its checksum is looked at before it is unpickled."""
    for path in (one._home.folder / "reproduce").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArgumentError, match="is damaged: its checksum has changed"):
        one.reproduce(0)


def test_overwrite_deletes_what_was_kept(one, search):
    """As it deletes the study."""
    files = set((one._home.folder / "reproduce").iterdir())
    assert len(files) == 2
    search(n_trials=1, overwrite=True, fit={"batch_size": 24})
    assert files.isdisjoint((one._home.folder / "reproduce").iterdir())


def test_a_trial_that_came_to_nothing_is_an_error(one):
    """The error lists those that did."""
    with pytest.raises(ArgumentError, match=r"trial=1 is no COMPLETE or PRUNED trial. Pass one"):
        one.reproduce(1)
    one.study.add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(ArgumentError, match="Trial 1 has no card: it was added by hand"):
        one.reproduce(1)
    one.study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={REPEAT_OF: 0}))
    with pytest.raises(ArgumentError, match=r"Trial 2 repeats trial 0.*Pass 0\."):
        one.reproduce(2)
