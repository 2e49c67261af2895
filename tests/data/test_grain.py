"""Data of Grain, which Model.fit takes: searched in one process and in two, checked, scored."""

from __future__ import annotations

import numpy as np
import pytest

from kerastune_optuna import ArgumentError
from tests.support.models import build_eager

grain = pytest.importorskip("grain", reason="the extra `test` brings grain; it is not installed")
# Keras says so at the end of each training on data of Grain, whose length it does not ask.
pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")


def rows_of(x, y):
    """Return a dataset of batches, in an order of chance that is fixed."""
    return grain.MapDataset.source(list(zip(x, y, strict=True))).shuffle(seed=1).batch(16)


def loader_of(x, y):
    """Return a loader of batches, in an order of chance that is fixed."""
    sampler = grain.samplers.IndexSampler(len(x), shuffle=True, seed=1, num_epochs=1)
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


ROWS = grain.MapDataset.source(np.zeros((48, 4), "float32"))
UNFIT = {
    "empty": (grain.MapDataset.source([]).batch(2), "x is empty"),
    "without end": (ROWS.repeat().batch(16), "x is endless"),
    "iterator": (iter(ROWS.batch(16).to_iter_dataset()), "can be read only once"),
}


@pytest.mark.parametrize(("x", "message"), UNFIT.values(), ids=UNFIT)
def test_data_of_grain_that_cannot_be_trained_on(search, x, message):
    """It ends the search in one line, before anything trains."""
    with pytest.raises(ArgumentError, match=message):
        search(fit={"x": x, "y": None})
