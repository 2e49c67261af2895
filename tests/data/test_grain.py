"""Data of Grain that cannot be trained on; the zoo has that which Model.fit takes."""

import numpy as np
import pytest

from kerastune_optuna import ArgumentError

grain = pytest.importorskip("grain", reason="the extra `test` brings grain; it is not installed")
ROWS = grain.MapDataset.source([(np.zeros(4, "float32"), 0)] * 48)
BATCHES = ROWS.batch(16)
READ = ROWS.to_iter_dataset()
ENDLESS = ROWS.repeat().to_iter_dataset().batch(16)
SAMPLER = grain.samplers.IndexSampler(48, shuffle=True, seed=1, num_epochs=None)
LOADER = grain.DataLoader(
    data_source=ROWS, sampler=SAMPLER, operations=[grain.transforms.Batch(16)]
)
UNFIT = {
    "empty": ({"x": ROWS[:0].batch(2)}, "x is empty"),
    "nothing left": ({"x": READ.batch(64, drop_remainder=True)}, "x is empty"),
    "without end": ({"x": ROWS.repeat().batch(16)}, "x is endless"),
    "read without end": ({"x": ENDLESS}, "x is endless"),
    "loaded without end": ({"x": LOADER}, "x is endless"),
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
