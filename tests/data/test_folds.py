"""Folds for cross-validation: which rows each has, of data of any kind."""

import tempfile

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from sklearn.model_selection import KFold, StratifiedKFold

from kerastune_optuna._data.fit import Given
from kerastune_optuna._data.folds import cross_validated
from kerastune_optuna._digest import digest


def fit_of(x, y):
    return Given(x, y, 1, None, 0.0)


X, CLASSES = np.arange(24.0).reshape(12, 2), np.repeat([0, 1, 2], 4)


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (CLASSES, StratifiedKFold),
        (np.eye(3)[CLASSES], StratifiedKFold),
        (CLASSES[:, None].astype(float), StratifiedKFold),
        (np.repeat(["a", "b", "c"], 4), StratifiedKFold),
        (np.arange(12), KFold),  # whole numbers that are no classes
        (np.linspace(0, 1, 12), KFold),
        (np.random.default_rng(0).normal(size=(12, 3)), KFold),
    ],
    ids=["classes", "one-hot", "column", "texts", "ranks", "numbers", "vectors"],
)
def test_a_number_of_folds_is_stratified_for_classes(y, kind):
    """scikit-learn's splitter is chosen by the targets, and shuffles by the tuner's seed."""
    folds = cross_validated(fit_of(X, y), 3, None, 5, ["val_loss"]).folds
    splitters = (kind(3, shuffle=True, random_state=seed) for seed in (5, 6))
    ours, others = (digest(list(one.split(X, CLASSES))) for one in splitters)
    assert digest(folds) == ours != others


SPLITS = list(KFold(3).split(X))
LISTS = [(train.tolist(), rest.tolist()) for train, rest in SPLITS]


@pytest.mark.parametrize("cv", [SPLITS, tuple(SPLITS), KFold(3).split(X), LISTS])
def test_splits_may_be_listed(cv):
    """What a splitter gives is taken as scikit-learn takes it: listed, or as it comes."""
    folds = cross_validated(fit_of(X, CLASSES), cv, None, None, ["val_loss"]).folds
    assert digest(folds) == digest(SPLITS)


def mapped(rows):
    """Return rows in a file."""
    with tempfile.TemporaryFile() as file:
        made = np.memmap(file, rows.dtype, "w+", shape=rows.shape)
    made[:] = rows
    return made


FORMS = {
    "array": np.asarray,
    "memory map": mapped,
    "frame": pd.DataFrame,
    "tensor": keras.ops.convert_to_tensor,
    "texts": lambda rows: rows.astype(str).astype(object),
    "tensor of texts": lambda rows: tf.constant(rows.astype(str)),
    "ragged": tf.RaggedTensor.from_tensor,
    "sparse": scipy.sparse.coo_matrix,
}


def rows_of(data):
    if isinstance(data, tf.RaggedTensor):
        return data.to_list()
    return np.asarray(data.toarray() if scipy.sparse.issparse(data) else data).tolist()


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_rows_are_picked_from_data_of_any_kind(make):
    """A fold has the rows that the splitter gave, whatever holds them."""
    fit = cross_validated(fit_of([make(X), make(X + 1)], X), KFold(3), None, None, ["val_loss"])
    second = fit.of_training({}, 1, 0)
    rest = [0, 1, 2, 3, 8, 9, 10, 11]
    assert rows_of(second.x[1]) == rows_of(make(X[rest] + 1))
    assert rows_of(second.validation_data[0][0]) == rows_of(make(X[4:8]))
    assert second.validation_data[1].tolist() == X[4:8].tolist()
