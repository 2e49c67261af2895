"""Data of Grain, which Model.fit takes: searched in one process and in two, checked, scored."""

from __future__ import annotations

import numpy as np
import pytest

from kerastune_optuna import ArgumentError, ArgumentTypeError
from tests.support.marks import mostly_nightly
from tests.support.models import build_eager

grain = pytest.importorskip("grain", reason="the extra `test` brings grain; it is not installed")
# Keras says so at the end of each training on data of Grain, whose length it does not ask.
pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")

OTHERS = mostly_nightly(["DataLoader", "IterDataset"], "DataLoader", "IterDataset")


def rows_of(x, y):
    """Return a dataset of batches, in an order of chance that is fixed."""
    return grain.MapDataset.source(list(zip(x, y, strict=True))).shuffle(seed=1).batch(16)


def as_kind(kind, x, y):
    """Return rows as data of one of Grain's kinds."""
    if kind == "DataLoader":
        sampler = grain.samplers.IndexSampler(len(x), shuffle=True, seed=1, num_epochs=1)
        rows = list(zip(x, y, strict=True))
        batch = [grain.transforms.Batch(16)]
        return grain.DataLoader(data_source=rows, sampler=sampler, operations=batch)
    found = rows_of(x, y)
    return found.to_iter_dataset() if kind == "IterDataset" else found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MapDataset", *OTHERS])
def test_data_of_grain_is_searched_and_scored(search, data, kind):
    """It trains and validates, and the best model has its value again."""
    x, y, validation = data
    given = {"x": as_kind(kind, x, y), "validation_data": as_kind(kind, *validation)}
    tuner = search(build_eager, "val_loss", n_trials=1, fit={**given, "y": None, "epochs": 1})
    loss, _ = tuner.best_model().evaluate(as_kind(kind, *validation), verbose=0)
    assert loss == tuner.best_value


@pytest.mark.slow
def test_functions_make_data_of_grain(search, data):
    """A function of no argument, and one of the trial, give what the data itself does."""
    x, y, _ = data
    made = rows_of(x, y)
    tuners = [
        search(build_eager, "val_loss", n_trials=1, study_name=name, fit={"x": given, "y": None})
        for name, given in (("a", made), ("b", lambda: made), ("c", lambda trial: made))
    ]
    assert len({tuner.best_value for tuner in tuners}) == 1


@pytest.mark.nightly
def test_data_of_grain_travels_to_workers(search, data):
    """Two processes train on it and validate with it as one does."""
    x, y, validation = data
    fit = {"x": rows_of(x, y), "y": None, "validation_data": rows_of(*validation), "n_workers": 2}
    tuner = search(objective="val_loss", fit=fit)
    loss, _ = tuner.best_model().evaluate(rows_of(*validation), verbose=0)
    assert loss == tuner.best_value


ROWS = np.zeros((48, 4), "float32")
NONE = grain.MapDataset.source([])
UNFIT = {
    "empty": (NONE.batch(2), "x is empty"),
    "without end": (grain.MapDataset.source(ROWS).repeat().batch(16), "x has no end"),
}


@pytest.mark.parametrize(("x", "message"), UNFIT.values(), ids=UNFIT)
def test_data_of_grain_that_cannot_be_trained_on(search, x, message):
    """It ends the search in one line, before anything trains."""
    with pytest.raises(ArgumentError, match=message):
        search(fit={"x": x, "y": None})


def test_an_iterator_of_grain_is_read_only_once(search, data):
    """It is refused as any other iterator."""
    x, y, _ = data
    with pytest.raises(ArgumentTypeError, match="can be read only once"):
        search(fit={"x": iter(rows_of(x, y).to_iter_dataset()), "y": None})
