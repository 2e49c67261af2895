"""Weights: those of the best trials are in whole files, whatever happens."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import keras
import numpy as np
import optuna
import pytest

from kerastune_optuna import BuilderError, WeightsError
from kerastune_optuna._storage.artifacts import PatientStore, WholeFileStore
from kerastune_optuna._study.record import TrialRecord
from tests.support import falling, forks
from tests.support.faults import ROOT
from tests.support.hosts import needs_posix
from tests.support.marks import mostly_nightly
from tests.support.models import build_eager, kept
from tests.support.noise import Noise
from tests.support.untrained import Untrained, has_best_weights, run, tuner_in


def test_weights_of_another_directory_are_not_found(search, make_tuner, tmp_path):
    """A study whose weights lie elsewhere says which arguments name the place."""
    url = f"sqlite:///{tmp_path}/study.db"
    search(falling.build, "val_loss", storage=url)
    elsewhere = make_tuner(falling.build, "val_loss", storage=url, directory=tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="directory= and artifact_store= must be those"):
        elsewhere.best_model()


@pytest.mark.slow
def test_a_model_that_samples_evaluates_to_its_best_training(search, data):
    """Its generators stand where they stood before the validation of the best epoch."""

    def build(trial):
        softmax = keras.layers.Dense(3, activation="softmax")
        model = keras.Sequential([keras.Input((4,)), Noise(), softmax])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    tuner = search(build, "val_loss", n_trials=1, executions_per_trial=2)
    best = min(tuner.best_trial.user_attrs["values"])
    assert tuner.best_model().evaluate(*data[2], verbose=0) == pytest.approx(best, abs=1e-6)


def test_weights_that_cannot_be_saved_are_an_error(search):
    """A layer that cannot be saved ends the search and is named."""

    class Unsaveable(keras.layers.Dense):
        def save_own_variables(self, store):
            raise NotImplementedError("this layer holds a socket")

    with pytest.raises(WeightsError, match="cannot be saved: NotImplementedError: this layer"):
        search(lambda trial: falling.Falling(Unsaveable(1)), "val_loss")


WRITER = """
import io, sys
from kerastune_optuna._storage.artifacts import WholeFileStore
class Waiting(io.BytesIO):
    def read(self, size=-1):
        if self.tell() >= 1 << 20:
            print("waiting", flush=True)
            sys.stdin.read()
        return super().read(size)
WholeFileStore(sys.argv[1]).write("weights", Waiting(b"new" * 1_000_000))
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    """A process killed while it writes leaves the old file, and the part beside it."""
    store = WholeFileStore(tmp_path)
    store.write("weights", io.BytesIO(b"old" * 1_000_000))
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with forks.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"waiting\n"
        writer.send_signal(signal.SIGKILL)
    assert sorted(os.listdir(tmp_path)) == ["weights", "weights.part"]
    assert (tmp_path / "weights").read_bytes() == b"old" * 1_000_000
    store.write("weights", io.BytesIO(b"newer"))
    assert (tmp_path / "weights").read_bytes() == b"newer"
    assert os.listdir(tmp_path) == ["weights"]


def test_weights_reach_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    """After a power cut they are whole: the file is synced, renamed, and then its folder synced."""
    done = []

    def noting(act, file, *others):
        stat = os.stat(file)
        done.append((act.__name__, stat.st_ino, stat.st_size))
        return act(file, *others)

    for act in (os.fsync, os.replace):
        monkeypatch.setattr(os, act.__name__, partial(noting, act))
    tuner = run(tuner_in(tmp_path, objective="val_mae", n_trials=1))
    folder = tuner._home.folder / "weights"
    weights = (folder / kept(tuner)[0]).stat()
    place = done.index(("fsync", weights.st_ino, weights.st_size))
    assert done[place + 1] == ("replace", weights.st_ino, weights.st_size)
    if os.name != "nt":  # Windows cannot open folders
        assert done[place + 2][:2] == ("fsync", folder.stat().st_ino)


@needs_posix
@pytest.mark.parametrize("name", ["weights", "weights.part", ".writable"])
def test_no_symbolic_link_of_a_shared_folder_is_followed(tmp_path, name):
    """A search in a folder that others may write to touches no file outside of it."""
    (precious := tmp_path / "precious").write_text("mine")
    os.utime(precious, (0, 0))
    (folder := tmp_path / "tuning").mkdir()
    (folder / name).symlink_to(precious)
    WholeFileStore(folder).write("weights", io.BytesIO(b"new"))
    run(tuner_in(folder, objective="val_mae", n_trials=1))
    assert (precious.read_text(), precious.stat().st_mtime) == ("mine", 0)
    assert (folder / "weights").read_bytes() == b"new"


def test_the_name_of_a_check_cannot_be_foretold(tmp_path):
    """So nobody can have put a link there, and no two processes have the same."""
    names = []

    class Noting(WholeFileStore):
        def write(self, artifact_id, content_body):
            names.append(artifact_id)
            super().write(artifact_id, content_body)

    for _ in range(2):
        PatientStore(Noting(tmp_path)).check()
    assert len(set(names)) == 2
    assert os.listdir(tmp_path) == []


def test_a_name_that_leaves_the_folder_is_refused(tmp_path):
    """As Optuna's stores refuse it, before anything is written."""
    (folder := tmp_path / "weights").mkdir()
    for name in ("..", "../other", "/other"):
        with pytest.raises(ValueError, match="is not the name of a file in"):
            WholeFileStore(folder).write(name, io.BytesIO(b"new"))
    assert os.listdir(tmp_path) == ["weights"]


def test_what_a_killed_writer_left_is_removed_with_the_file(tmp_path):
    """Removing an artifact removes the unfinished copy beside it."""
    store = WholeFileStore(tmp_path)
    store.write("weights", io.BytesIO(b"whole"))
    Path(tmp_path, "weights.part").write_bytes(b"unfinished")
    store.remove("weights")
    assert os.listdir(tmp_path) == []


def test_an_id_of_other_form_names_no_file(tmp_path):
    """What a database says of a trial's files reaches none but those, and stops no search."""
    tuner = tuner_in(tmp_path / "tuning", objective="val_mae", n_trials=4)
    for folder in (tmp_path, tmp_path / "tuning/test", tmp_path / "tuning/test/weights"):
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("victim", "victim.part", "study.db", "study.db.part"):
            folder.joinpath(file).touch()
    there = sorted(tmp_path.rglob("*.part"))
    for name in ("../victim", f"/{tmp_path}/victim", "study.db"):
        meta = {"artifact_id": name, "mimetype": "", "encoding": None}
        attrs = {
            "artifacts:1": json.dumps({**meta, "filename": "trial_0000.weights.h5"}),
            "artifacts:2": json.dumps({**meta, "filename": "history.csv"}),
            TrialRecord.backup: {"id": name, "sha256": "0", "previous": None},
        }
        tuner.study.add_trial(optuna.trial.create_trial(value=9.0, system_attrs=attrs))
    run(tuner)
    assert len(tuner.study.trials) == 4
    run(tuner_in(tmp_path / "tuning", objective="val_mae", n_trials=1, overwrite=True))
    assert sorted(tmp_path.rglob("*.part")) == there


def test_a_store_in_a_folder_takes_names_of_files_alone(tmp_path):
    """A name with slashes, as optuna-dashboard may be asked for, reaches no other folder."""
    store = WholeFileStore(tmp_path / "store")
    Path(tmp_path, "victim.part").touch()
    for act in (store.remove, lambda name: store.write(name, io.BytesIO(b"ours"))):
        with pytest.raises(ValueError, match=r"'\.\./victim.*' is not the name of a file in"):
            act("../victim")
    assert Path(tmp_path, "victim.part").exists()


SEARCHER = """
import os, signal, sys
from tests.support.untrained import run
from tests.trial.test_weights import improving

replace = os.replace
def killed(aside, path):
    is_of_weights = open(aside, "rb").read(4) == b"\\x89HDF"
    if not is_of_weights or sys.argv[2] == "after":
        replace(aside, path)
    if is_of_weights:
        os.kill(os.getpid(), signal.SIGKILL)

run(improving(sys.argv[1], n_trials=1))
os.replace = killed
run(improving(sys.argv[1], n_trials=2))
"""


def improving(folder, **options):
    """Return a tuner of which the second trial is better than the first."""

    def build(trial):
        trial.suggest_int("units", 1, 1000)
        return Untrained(2, [{"val_mae": 1 / (trial.number + 1)}])

    return tuner_in(folder, build, "val_mae", pruner="none", **options)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_search_killed_while_it_saves_keeps_its_best_model(tmp_path, moment):
    """Whichever side of the rename the kill falls on, best_model() of the study is whole."""
    script = [sys.executable, "-c", SEARCHER, str(tmp_path), moment]
    assert forks.run(script, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    tuner = improving(tmp_path)
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE", "RUNNING"]
    assert has_best_weights(tuner)


class Magnitude(keras.callbacks.Callback):
    """Set small weights to zero at the end of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        """Prune."""
        for weight in self.model.trainable_weights:
            value = keras.ops.convert_to_numpy(weight)
            weight.assign(np.where(np.abs(value) < 0.3, 0.0, value))


@pytest.mark.parametrize("every", mostly_nightly([1, 2], "1"))
def test_the_weights_kept_are_those_that_validation_saw(search, data, every):
    """Callbacks may put others in their place at the end of an epoch."""
    fit = {"epochs": 4, "callbacks": [Magnitude()], "validation_freq": every}
    tuner = search(objective="val_loss", n_trials=1, fit=fit)
    loss = tuner.best_model().evaluate(*data[2], verbose=0)[0]
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_without_validation_the_weights_are_those_of_the_epochs_end(search, data):
    """An objective of the training, which has no moment of its own, leaves them as they were."""
    seen = []

    class Noting(Magnitude):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch)
            seen.append(self.model.get_weights())

    tuner = search(objective="loss", n_trials=1, fit={"callbacks": [Noting()]})
    best = seen[tuner.best_trial.user_attrs["best_epoch"]]
    assert all(map(np.array_equal, tuner.best_model().get_weights(), best))


def with_lora(trial):
    """Return a quantized classifier of words of which low ranks are trained alone."""
    layers = keras.layers
    embedding, dense = layers.Embedding(10, 6), layers.EinsumDense("abc,cd->abd", (4, 6))
    last = [layers.Conv1D(4, 2), layers.Flatten(), layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((4,)), embedding, dense, *last])
    with warnings.catch_warnings(action="ignore"):  # that other layers stay as they are
        model.quantize("int8")
    for layer in model.layers:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(trial.suggest_int("rank", 1, 3))
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    return model


@pytest.mark.nightly
def test_a_quantized_model_with_lora_evaluates_to_its_value(search, data):
    """Keras's file would have the rounded sum of a kernel and its low ranks."""
    x, _, (x_held_out, y_held_out) = data
    words, held_out = (np.abs(one * 3).astype(int) % 10 for one in (x, x_held_out))
    fit = {"x": words, "validation_data": (held_out, y_held_out), "epochs": 4}
    tuner = search(with_lora, "val_loss", n_trials=2, fit=fit)
    loss = tuner.best_model().evaluate(held_out, y_held_out, verbose=0)
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.parametrize(
    "returns",
    [
        lambda history: history,
        lambda history: {"val_accuracy": max(history.history["val_accuracy"])},
    ],
    ids=["history", "dict"],
)
def test_a_fit_that_replaces_variables_is_an_error_of_its_first_trial(search, make_tuner, returns):
    """No builder returns a quantized model for the weights to be loaded into."""

    class Quantized:
        def __call__(self, trial):
            return build_eager(trial)

        def fit(self, trial, model, **arguments):
            history = model.fit(**arguments)
            with warnings.catch_warnings(action="ignore"):  # that an InputLayer stays as it is
                model.quantize("int8")
            return returns(history)

    with pytest.raises(BuilderError, match=r"in the place of .*kernel.* Do that after the search"):
        search(Quantized())
    assert [trial.state.name for trial in make_tuner().study.trials] == ["FAIL"]


def test_what_cannot_be_handed_out_ends_a_search_with_its_first_trial(search, make_tuner):
    """Or with the next one for whose second model there is memory; with no models, none ends it."""
    units = itertools.count(2)

    def build(trial):
        trial.suggest_float("lr", 0.01, 0.1)
        return falling.Falling(keras.layers.Dense(next(units)), keras.layers.Dense(1))

    def short_of_memory(trial):
        if isinstance(trial, optuna.trial.FrozenTrial) and trial.number == 0:
            raise MemoryError("two models are too many")
        return build(trial)

    text = r"could not return its first model.* is not the one .* only on its trial"
    for builder, complete in ((build, 1), (short_of_memory, 2)):
        options = {"n_trials": 6, "study_name": f"ends with {complete}", "keep_best": 6}
        with pytest.raises(WeightsError, match=text):
            search(builder, "val_loss", **options)
        results = make_tuner(builder, "val_loss", **options).results()
        assert list(results["state"]).count("COMPLETE") == complete
    tuner = search(build, "val_loss", n_trials=3, keep_best=0)
    assert list(tuner.results()["state"]).count("COMPLETE") == 3


def test_a_lack_of_memory_for_the_variables_of_a_second_model_ends_no_search(search):
    """Where the builder leaves them to Keras, memory runs out only after it has returned."""
    built = []

    class Large(keras.layers.Dense):
        def build(self, shape):
            built.append(shape)
            if len(built) in (2, 3):  # Keras tries a second time
                raise MemoryError("out of memory")
            super().build(shape)

    def build(trial):
        model = keras.Sequential([Large(1)])
        model.compile("sgd", "mse")
        return model

    assert search(build, "val_loss", n_trials=1).best_model().built
    assert len(built) == 4


def test_a_builder_that_raises_when_it_is_called_again_ends_no_search(search):
    """What it asks of a running trial, as in `trial.study`, may be of this trial alone."""

    def build(trial):
        trial.set_user_attr("trials", len(trial.study.trials))
        return falling.build(trial)

    assert len(search(build, "val_loss", n_trials=2).results()) == 2


def test_the_first_model_that_is_kept_is_built_once_again(search):
    """Only that one: further builds would take the time of the search."""
    built = []

    def build(trial):
        built.append(trial.number)
        return falling.build(trial)

    tuner = search(build, "val_loss", n_trials=3, keep_best=3, train_repeats=True)
    assert built == [0, 0, 1, 2]
    assert len(kept(tuner)) == 3
