"""Frozen weights: in the store once for all trials, and back in each model that is handed out."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import h5py
import numpy as np
import optuna
import pytest
from keras import layers

from kerastune_optuna import WeightsError
from kerastune_optuna._storage.artifacts import WholeFileStore
from kerastune_optuna._trial import frozen
from tests.support.falling import Falling

RNG = np.random.default_rng(0)
BASE = [
    RNG.normal(size=shape).astype("float32") / 14 for shape in [(4, 200), (200, 200), (200, 200)]
]
SIZE = sum(array.nbytes for array in BASE[1:])  # the first one is too small to be shared
X, Y = RNG.normal(size=(48, 4)).astype("float32"), np.arange(48) % 3
FIT = {"x": X, "y": Y, "validation_data": (X, Y), "verbose": 0}


class Tuned(Falling):
    """A model whose loss depends on all of its weights, and which learns the last ones."""

    def learn(self):
        """Take a tenth of the last layer's bias."""
        self.layers[-1].bias.assign(self.layers[-1].bias * 0.9)

    def evaluate(self, *_, **__):
        """Return the loss."""
        return float(sum(np.abs(one.astype("float32")).mean() for one in self.get_weights()))


def tuned(trial, base=BASE, n_frozen=3, dtype=None):
    """Return a classifier on a base, of which the first layers are frozen."""
    names = [f"base_{place}" for place in range(len(base))]
    parts = [layers.Dense(200, "tanh", use_bias=False, name=name, dtype=dtype) for name in names]
    head = [layers.BatchNormalization(), layers.Dropout(0.2), layers.Dense(3, "softmax")]
    model = Tuned(*parts, *head)
    for layer, array in zip(parts, base, strict=True):
        layer.set_weights([array])
    for layer in parts[:n_frozen]:
        layer.trainable = False
    trial.suggest_float("rate", 1e-3, 1e-2)
    return model


def partly(trial):
    """Freeze two or three layers of the base, or one."""
    return tuned(trial, n_frozen=trial.suggest_int("frozen", 1, 3))


def by_chance(trial):
    """Freeze a base of each trial's own."""
    chance = np.random.default_rng(trial.number)
    return tuned(trial, [chance.normal(size=array.shape).astype("float32") for array in BASE])


def halved(trial):
    """Freeze a base whose weights are bfloat16."""
    return tuned(trial, dtype="bfloat16")


def files_of(tuner):
    """Return the sizes of the files in the store: those of frozen weights, and the others."""
    files = [path for path in (tuner._home.folder / "weights").iterdir() if path.is_file()]
    shared = [path.stat().st_size for path in files if path.suffix == ".frozen"]
    return shared, [path.stat().st_size for path in files if path.suffix != ".frozen"]


@pytest.fixture
def searched(make_tuner):
    """Give a search of four trials that keep their weights."""

    def run(build=tuned, n_workers=1, **options):
        options = {"keep_best": 4, "n_trials": 4, "pruner": "none", "seed": 0, **options}
        return make_tuner(build, "val_loss", **options).search(epochs=2, n_workers=n_workers, **FIT)

    return run


def check_models(tuner, n=4):
    """Let each kept model evaluate to its trial's value, to the last digit."""
    ended = (trial for trial in tuner.study.trials if trial.value is not None)
    best = sorted(ended, key=lambda trial: trial.value)[:n]
    models = tuner.best_models(n)
    assert [model.evaluate(X, Y, verbose=0) for model in models] == [one.value for one in best]


@pytest.mark.parametrize("build", [tuned, halved])
def test_frozen_weights_are_stored_once_for_all_trials(searched, build):
    """Trials on one base have one file with it, and small ones of their own."""
    tuner = searched(build, n_trials=2)
    shared, own = files_of(tuner)
    size = SIZE // 2 if build is halved else SIZE
    assert len(shared) == 1
    assert size < shared[0] < size + 8192
    assert len(own) == 4  # weights and histories
    check_models(tuner, 2)
    assert max(own) < size


@pytest.mark.slow
def test_each_layer_is_stored_once_where_trials_freeze_others(searched):
    """Trials that freeze one to three layers of a base store each frozen layer once."""
    grid = optuna.samplers.GridSampler({"frozen": [1, 2, 3], "rate": [0.001, 0.01]})
    tuner = searched(partly, sampler=grid, n_trials=6, keep_best=6)
    shared, _ = files_of(tuner)
    assert 1 <= len(shared) <= 2
    assert SIZE < sum(shared) < SIZE + 8192 * len(shared)
    check_models(tuner, 6)


@pytest.mark.slow
def test_workers_share_frozen_weights(searched, make_tuner):
    """Several workers, a later search and a fresh tuner use the file that is there."""
    searched(n_trials=4, n_workers=2)
    tuner = searched(n_trials=8, keep_best=8)
    shared, _ = files_of(tuner)
    assert 1 <= len(shared) <= 2  # both workers may be the first
    check_models(tuner, 8)


def test_frozen_weights_of_no_other_trial_go_with_their_trial(searched):
    """Where each trial froze a base of its own, the files of the best ones are left."""
    tuner = searched(by_chance, keep_best=1, n_trials=2)
    shared, _ = files_of(tuner)
    assert len(shared) == 1
    searched(by_chance, keep_best=1, overwrite=True, n_trials=1)
    assert len(files_of(tuner)[0]) == 1


def change(path):
    """Change one weight in a file."""
    with h5py.File(path, "a") as file:
        next(iter(file.values()))[0, 0] += 1


def test_lost_frozen_weights_are_an_error(searched):
    """best_model() says what is lost, and no model with other weights is handed out."""
    tuner = searched(keep_best=1, n_trials=1)
    (path,) = (tuner._home.folder / "weights").glob("*.frozen")
    for damage in (change, lambda path: path.write_bytes(path.read_bytes()[:5000]), Path.unlink):
        damage(path)
        with pytest.raises(WeightsError, match="frozen weights of trial 0, in a file of their own"):
            tuner.best_model()


@pytest.mark.slow
def test_no_trial_counts_on_a_file_that_is_gone(searched):
    """A later search writes frozen weights again where somebody has deleted them."""
    tuner = searched(keep_best=1, n_trials=1)
    (path,) = (tuner._home.folder / "weights").glob("*.frozen")
    path.unlink()
    tuner = searched(keep_best=8, n_trials=3)
    for trial in tuner.study.trials[1:]:
        assert tuner.best_model(trial=trial.number).evaluate(X, Y, verbose=0) == trial.value


class Late(optuna.storages.InMemoryStorage):
    """Let something happen after one reading of all trials."""

    after = None

    def get_all_trials(self, *arguments, **keywords):
        """Return the trials as they were before that."""
        trials = super().get_all_trials(*arguments, **keywords)
        if self.after is not None:
            after, self.after = self.after, None
            after()
        return trials


def test_who_names_a_file_while_it_is_struck_keeps_it(searched, tmp_path):
    """A trial that another worker saves while files are deleted finds its frozen weights."""
    storage = Late()
    tuner = searched(storage=storage, keep_best=1, n_trials=2)
    study, store = tuner.study, tuner._home.store
    model = tuned(study.best_trial)
    late = study.ask()
    path = tmp_path / "late.weights.h5"
    model.save_weights(path)
    storage.after = lambda: frozen.share(store, late, path, model)
    frozen.tidy(study, store, {trial.number for trial in study.trials[:2]})
    assert files_of(tuner)[0]
    assert frozen.complete(store, path)
    second = study.ask()
    model.save_weights(path)
    frozen.share(store, second, path, model)
    assert len(files_of(tuner)[0]) == 1  # the study knows it again


class Deadly(WholeFileStore):
    """End the process once a file of frozen weights is written."""

    def write(self, artifact_id, content_body):
        """Write a file."""
        super().write(artifact_id, content_body)
        if artifact_id.endswith(".frozen"):
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_death_between_two_files_leaves_none(searched, tmp_path):
    """What a killed worker wrote and told nobody is deleted by the next search."""
    folder = tmp_path / "store"
    folder.mkdir()
    with pytest.raises(RuntimeError):
        searched(n_workers=2, n_trials=2, artifact_store=Deadly(folder), max_failed_trials=1)
    assert list(folder.glob("*.frozen"))
    store = WholeFileStore(folder)
    tuner = searched(artifact_store=store, keep_best=1)
    assert len(list(folder.glob("*.frozen"))) == 1
    check_models(tuner, 1)
