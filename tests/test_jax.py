"""JAX as the backend: its arrays, and loaders of PyTorch that Keras takes there too."""

from pathlib import Path

import jax
import keras
import pytest
import torch
from optuna.trial import FixedTrial
from torch.utils.data import DataLoader, TensorDataset

from kerastune_optuna import _backend
from tests.benchmarks.zoo import EQUAL, rows_of
from tests.support.faults import trials_of
from tests.support.models import build_model
from tests.workers.test_distribution import PARALLEL, SEARCH, came_to


def noting(trial):
    trial.set_user_attr("backend", keras.backend.backend())
    return build_model(trial)


def test_workers_have_the_backend_of_the_search(search, monkeypatch, data, capfd):
    """Whatever the environment says by now, workers train with JAX on JAX's own arrays."""
    monkeypatch.delenv("KERAS_BACKEND")
    x, y, validation = jax.tree.map(jax.numpy.asarray, data)
    fit = {"x": x, "y": y, "validation_data": validation, "n_workers": 2}
    tuner = search(noting, n_trials=4, fit=fit)
    assert [trial.user_attrs["backend"] for trial in trials_of(tuner)] == ["jax"] * 4
    loss = tuner.best_model().evaluate(*validation, verbose=0, return_dict=True)
    assert loss["accuracy"] == pytest.approx(tuner.best_value, abs=1e-6)
    assert capfd.readouterr().err == ""


def test_a_loader_shuffles_by_the_seed_of_its_trial(search, data):
    """Keras seeds PyTorch under its own backend alone; one seed gives one table here too."""
    x, y, _ = data
    training = TensorDataset(torch.tensor(x), torch.tensor(y))
    fit = {"x": DataLoader(training, batch_size=16, shuffle=True), "y": None}
    tables = [search(objective="val_loss", study_name=name, fit=fit).results() for name in "ab"]
    assert tables[0]["value"].tolist() == tables[1]["value"].tolist()


@pytest.mark.parametrize(("most_grown", "kept"), [(1e12, 1), (-1e12, 0)], ids=["little", "much"])
def test_what_jax_compiled_goes_when_the_process_has_grown(search, monkeypatch, most_grown, kept):
    """A search drops all that was compiled where the process has grown by more than the limit."""
    compiled = jax.jit(lambda x: x + 1)
    compiled(1)
    monkeypatch.setattr(_backend, "_MOST_GROWN", most_grown)
    search(n_trials=1)
    assert compiled._cache_size() == kept


def test_a_builder_may_parallelise_its_data(tmp_path):
    """With keras.distribution.DataParallel, each of two devices trains on half of a batch."""
    flags = "--xla_force_host_platform_device_count=2"
    values, losses, devices = came_to(PARALLEL + SEARCH, tmp_path, "jax", XLA_FLAGS=flags)
    assert losses == pytest.approx(values, abs=1e-6)
    assert devices == [2, 2]


def test_a_dataset_with_workers_is_trained_as_plainly():
    """What Keras's threads read when a fit looked at the data first is what it trains on first."""
    [(_, _, kind, why)] = rows_of(["py_dataset_workers"], [1])
    assert (kind, why) == (EQUAL, "")


def noting_cache(trial):
    """Note where the process keeps what JAX compiles."""
    trial.set_user_attr("cache", jax.config.jax_compilation_cache_dir)
    return build_model(trial)


def of_one_shape(trial):
    """Return a model that has the same layers in each trial."""
    return build_model(FixedTrial({"units": 4, "lr": trial.suggest_float("lr", 0.01, 0.1)}))


def test_a_known_shape_is_compiled_once(search):
    """The second trial finds what the first compiled, and JAX's own settings come back."""
    found = []
    jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
    before = jax.config.jax_compilation_cache_dir
    search(of_one_shape, n_trials=2)
    assert any(name.endswith("cache_hits") for name in found)
    assert jax.config.jax_compilation_cache_dir == before


def test_workers_share_what_is_compiled(search):
    """They keep it in one temporary folder, which goes with the search."""
    tuner = search(noting_cache, n_trials=4, fit={"n_workers": 2})
    (folder,) = {trial.user_attrs["cache"] for trial in trials_of(tuner)}
    assert not Path(folder).exists()
