"""PyTorch as the backend: its DataLoaders and tensors, its threads, and what it cannot do."""

import os

import keras
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from kerastune_optuna import ArgumentError
from tests.benchmarks.zoo import EQUAL, rows_of
from tests.support.faults import trials_of
from tests.support.models import build_model
from tests.test_examples import BEST, run


def loaded(data):
    x, y, validation = data
    training = TensorDataset(torch.tensor(x), torch.tensor(y))
    validation = TensorDataset(*map(torch.tensor, validation))
    return {
        "x": DataLoader(training, batch_size=16, shuffle=True),
        "y": None,
        "validation_data": DataLoader(validation, batch_size=16),
    }


def noting(trial):
    trial.set_user_attr("backend", keras.backend.backend())
    trial.set_user_attr("threads", torch.get_num_threads())
    return build_model(trial)


def test_a_loader_shuffles_by_the_seed_of_its_trial(search, make_tuner, data):
    """A search in two calls is the search in one, and the best model evaluates to the best."""
    fit = loaded(data)
    whole = search(objective="val_loss", n_trials=3, study_name="whole", fit=fit)
    search(objective="val_loss", n_trials=1, study_name="parts", fit=fit)
    parts = make_tuner(objective="val_loss", n_trials=3, study_name="parts")
    # The same parameters, which another process would draw anew.
    for trial in whole.study.trials[1:]:
        parts.study.enqueue_trial(trial.params)
    search(tuner=parts, fit=fit)
    assert parts.results()["value"].tolist() == whole.results()["value"].tolist()
    loss = whole.best_model().evaluate(fit["validation_data"], verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(whole.best_value, abs=1e-6)


def test_tensors_are_trained_on(search, data):
    """Tensors of PyTorch serve as arrays do."""
    x, y, *validation = map(torch.tensor, (*data[:2], *data[2]))
    fit = {"x": x, "y": y, "validation_data": tuple(validation)}
    assert search(fit=fit).best_value == search(study_name="arrays").best_value


def test_loaders_travel_to_workers(search, data, monkeypatch, capfd):
    """Two workers share the cores, train with PyTorch, and tell nothing of TensorFlow."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    tuner = search(noting, n_trials=4, fit={"n_workers": 2, **loaded(data)})
    notes = [trial.user_attrs for trial in trials_of(tuner)]
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert {(one["backend"], one["threads"]) for one in notes} == {("torch", share)}
    assert capfd.readouterr().err == ""


def test_many_steps_a_call_are_refused_until_keras_makes_them(search):
    """Keras 3.15 would raise an error in the middle of a trial; Keras 3.16 trains as with one."""
    fit = {"steps_per_execution": 4}
    if tuple(map(int, keras.version().split(".")[:2])) < (3, 16):
        with pytest.raises(ArgumentError, match=r"=4 is more than Keras .* Pass 1 or \"auto\""):
            search(fit=fit)
    else:
        many = search(fit=fit, study_name="many")
        assert many.results()["value"].tolist() == search().results()["value"].tolist()


def test_the_example_runs(tmp_path):
    """The example searches with loaders, and its model is that of the study."""
    printed = run("torch_backend.py", tmp_path)
    assert "trained with torch" in printed
    accuracy = float(printed.rpartition("best model: ")[2].split(",")[0])
    assert round(float(BEST.search(printed)[1]), 4) == accuracy


def test_a_dataset_with_workers_is_trained_as_plainly():
    """What Keras's threads read when a fit looked at the data first is what it trains on first."""
    [(_, _, kind, why)] = rows_of(["py_dataset_workers"], [1])
    assert (kind, why) == (EQUAL, "")
