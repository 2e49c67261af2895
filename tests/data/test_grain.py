"""Data of Grain, which Model.fit takes: searched in one process and in two, checked, scored."""

from __future__ import annotations

import numpy as np
import pytest

from kerastune_optuna import ArgumentError
from tests.data.test_kinds import plain_loss
from tests.support.models import build_eager, build_model

grain = pytest.importorskip("grain", reason="the extra `test` brings grain; it is not installed")
# Keras says so at the end of each training on data of Grain, whose length it does not ask.
pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")


def rows_of(x, y):
    """Return a dataset of batches, in an order of chance that is fixed."""
    return grain.MapDataset.source(list(zip(x, y, strict=True))).shuffle(seed=1).batch(16)


def loader_of(x, y, epochs=1):
    """Return a loader of batches, in an order of chance that is fixed."""
    sampler = grain.samplers.IndexSampler(len(x), shuffle=True, seed=1, num_epochs=epochs)
    rows, batch = list(zip(x, y, strict=True)), [grain.transforms.Batch(16)]
    return grain.DataLoader(data_source=rows, sampler=sampler, operations=batch)


WAYS = {
    "MapDataset": (rows_of, lambda made: made, 2),
    "IterDataset": (lambda *data: rows_of(*data).to_iter_dataset(), lambda made: lambda: made, 1),
    "DataLoader": (loader_of, lambda made: lambda trial: made, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "given", "workers"), WAYS.values(), ids=WAYS)
def test_data_of_grain_is_searched_and_scored(search, data, make, given, workers):
    """It trains and validates, in workers and from functions too: the best model has its value."""
    x, y, validation = data
    fit = {"x": given(make(x, y)), "y": None, "validation_data": given(make(*validation))}
    tuner = search(build_eager, "val_loss", n_trials=1, fit={**fit, "n_workers": workers})
    loss, _ = tuner.best_model().evaluate(make(*validation), verbose=0)
    assert loss == tuner.best_value


@pytest.mark.slow
def test_data_of_grain_is_trained_on_as_plainly(search, data):
    """Even 288 steps are made one a call: with several, Keras would end epochs in another state."""
    x, y, validation = data
    rows = grain.MapDataset.source(list(zip(x, y, strict=True))).shuffle(seed=1).repeat(3).batch(1)
    given = {"x": rows, "validation_data": rows_of(*validation)}
    tuner = search(build_model, "val_loss", n_trials=1, fit={**given, "y": None})
    assert tuner.best_value == plain_loss(build_model, tuner.best_trial, shuffle=False, **given)


@pytest.mark.slow
def test_data_of_grain_without_end_needs_steps(search, data):
    """With steps_per_epoch= it is trained on, whatever cannot tell its length."""
    rows, steps = rows_of(*data[:2]).repeat().to_iter_dataset(), {"steps_per_epoch": 2}
    tuner = search(build_eager, n_trials=1, fit={"x": rows, "y": None, "epochs": 1, **steps})
    assert tuner.best_trial.user_attrs["epochs_run"] == 1


ROWS = grain.MapDataset.source([(np.zeros(4, "float32"), 0)] * 48)
BATCHES = ROWS.batch(16)
READ = ROWS.to_iter_dataset()
ENDLESS = ROWS.repeat().to_iter_dataset().batch(16)
UNFIT = {
    "empty": ({"x": ROWS[:0].batch(2)}, "x is empty"),
    "nothing left": ({"x": READ.batch(64, drop_remainder=True)}, "x is empty"),
    "without end": ({"x": ROWS.repeat().batch(16)}, "x is endless"),
    "read without end": ({"x": ENDLESS}, "x is endless"),
    "loaded without end": ({"x": loader_of(*np.eye(2), epochs=None)}, "x is endless"),
    "validated without end": ({"x": BATCHES, "validation_data": ENDLESS}, "Pass validation_steps="),
    "rows": ({"x": ROWS}, r"x gives single rows.* Call batch\(32\)"),
    "rows to validate": ({"x": BATCHES, "validation_data": READ}, "validation_data gives single"),
    "iterator": ({"x": iter(READ.batch(16))}, "can be read only once"),
    "targets": ({"x": BATCHES, "y": np.zeros(48)}, "Leave y out"),
    "weights": ({"x": BATCHES, "sample_weight": np.ones(48)}, "Leave sample_weight out"),
    "weights of classes": ({"x": BATCHES, "class_weight": {0: 2.0}}, "Leave class_weight out"),
    "folds": ({"x": BATCHES, "validation_data": None, "cv": 2}, "cv= picks rows"),
    "split": ({"x": BATCHES, "validation_split": 0.5}, "works for arrays"),
}


@pytest.mark.parametrize(("fit", "message"), UNFIT.values(), ids=UNFIT)
def test_data_of_grain_that_cannot_be_trained_on(search, make_tuner, fit, message):
    """It ends the search in one line, before anything trains."""
    tuner = make_tuner()
    with pytest.raises(ArgumentError, match=message):
        search(tuner=tuner, fit={"y": None, **fit})
    assert len(tuner.study.trials) == 0
