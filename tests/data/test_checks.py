"""What Model.fit takes, a search takes: the zoo, which .ci/nightly runs, has the other forms."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from optuna.storages import InMemoryStorage

from kerastune_optuna import ArgumentError, ArgumentTypeError
from tests.support.models import build_eager, build_model
from tests.trial.test_ledger import trained

ROWS = np.random.default_rng(0).integers(0, 5, (48, 3))
Y = (ROWS[:, 0] > 1).astype("int64")
TEXTS = np.array(["good", "not so good"] * 24, dtype=object)


@pytest.mark.nightly
def test_a_distributed_dataset_is_taken(search, data):
    """What a strategy made of a tf.data.Dataset trains as it does with Model.fit."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])

    def build(trial):
        with strategy.scope():
            model = build_model(trial)
            model.compile("sgd", model.loss, metrics=["accuracy"])
        return model

    def distributed(*arrays):
        batches = tf.data.Dataset.from_tensor_slices(arrays).batch(16)
        return strategy.experimental_distribute_dataset(batches)

    x, y, validation = data
    rows, held_out = distributed(x, y), distributed(*validation)
    fit = {"x": rows, "y": None, "validation_data": held_out}
    for trial in search(build, "val_loss", fit=fit).study.trials:
        own = trial.user_attrs["seed"], rows, None, held_out
        assert trial.value == min(trained(build, trial, *own, epochs=2, shuffle=False))


def endless(x, y):
    """Return a function that yields batches of 16 rows without end."""

    def yield_batches():
        while True:
            for first in range(0, len(x), 16):
                yield x[first : first + 16], y[first : first + 16]

    return yield_batches


@pytest.mark.slow
def test_a_function_that_returns_a_generator_begins_it_anew_for_refit(search, data, comes_again):
    """It trains on the first batches again, as each trial does."""
    given = {"x": endless(*data[:2]), "y": None, "steps_per_epoch": 2}
    assert comes_again(search(fit=given), **given)


REFUSED = {
    "generator": ({"x": endless(ROWS, Y)(), "y": None}, "Pass a function without arguments that r"),
    "no steps": ({"x": endless(ROWS, Y), "y": None}, "Pass steps_per_epoch=, and let"),
    "generated validation": ({"validation_data": endless(ROWS, Y)}, "would give each epoch other"),
    "list of texts": ({"x": list(TEXTS)}, "x[0] holds str, which is not an array. Pass arrays, or"),
    "list of numbers": ({"y": Y.tolist()}, "y[0] holds int, which is not an array"),
    "fixed width": ({"x": TEXTS.astype(str)}, "x holds values of type <U"),
    "objects": ({"x": ROWS.astype(object)}, "x holds values of type object. Pass arrays of numb"),
    "set": ({"x": {1, 2}, "y": None}, "x holds set, which is not an array"),
    "weights": ({"sample_weight": [1.0] * 48}, "sample_weight[0] holds float, which is not an"),
    "column of texts": ({"x": pd.DataFrame({"name": TEXTS})}, "in column 'name'"),
    "categories": (
        {"x": {"city": pd.Series(TEXTS, dtype="category")}},
        "x['city'] holds values of",
    ),
    "mixed columns": (
        {"x": pd.DataFrame({"age": ROWS[:, 0], "is_new": Y > 0})},
        "int64 and bool, which have no common type. Convert all columns to one type",
    ),
    "folds of a sparse tensor": (
        {"x": tf.sparse.from_dense(ROWS), "validation_data": None, "cv": 2},
        "of type SparseTensor. Pass arrays, sparse arrays of SciPy",
    ),
    "weights of validation": ({"validation_data": (ROWS, Y, Y[:3])}, "48 rows and [2] has 3"),
}


@pytest.mark.parametrize(("fit", "message"), REFUSED.values(), ids=REFUSED)
def test_what_keras_does_not_take_is_refused_before_training(search, make_tuner, fit, message):
    """One line names the array or the column, and says what to pass instead."""
    tuner = make_tuner()
    with pytest.raises(ArgumentError) as got:
        search(tuner=tuner, fit={"x": ROWS, "y": Y, "validation_data": (ROWS, Y), **fit})
    assert message in str(got.value)
    assert "\n" not in str(got.value)
    assert len(tuner.study.trials) == 0


def torch_and_rows(data):
    """Return PyTorch's module of data, where it is installed, and a dataset of it."""
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    x, y, _ = data
    return torch.utils.data, torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))


@pytest.mark.slow
def test_a_loader_of_pytorch_shuffles_by_the_seed_of_its_trial(search, data):
    """Whatever was read of it before, and with TensorFlow too, one seed gives one table."""
    module, rows = torch_and_rows(data)
    loader, values = module.DataLoader(rows, batch_size=16, shuffle=True), []
    for name in "ab":
        tuner = search(build_eager, "val_loss", study_name=name, fit={"x": loader, "y": None})
        values.append([trial.value for trial in tuner.study.trials])
        next(iter(loader))
    assert values[0] == values[1]


@pytest.mark.slow
def test_a_dataset_of_pytorch_wants_a_loader(search, data):
    """Model.fit takes its rows from a DataLoader alone, and the error says so."""
    _, rows = torch_and_rows(data)
    with pytest.raises(ArgumentTypeError, match=r"TensorDataset.*Pass torch.utils.data.DataLoader"):
        search(fit={"x": rows, "y": None})


@pytest.mark.nightly
@pytest.mark.parametrize("form", ["Dataset", "DatasetDict", "Column", "IterableDataset"])
def test_a_dataset_of_hugging_face_wants_arrays_or_batches(search, data, form):
    """Model.fit does not take it, and the error says which of its methods give what it takes."""
    datasets = pytest.importorskip("datasets", reason=".ci/nightly installs datasets, CI does not")
    rows = datasets.Dataset.from_dict({"x": data[0], "y": data[1]}).with_format("numpy")
    forms = {
        "Dataset": rows,
        "DatasetDict": datasets.DatasetDict(train=rows),
        "Column": rows["x"],
        "IterableDataset": rows.to_iterable_dataset(),
    }
    instead = "a generator of batches" if form == "IterableDataset" else "with_format.*to_tf_data"
    with pytest.raises(ArgumentTypeError, match=f"x is a {form}, which Model.fit .*{instead}"):
        search(fit={"x": forms[form], "y": None})
    arrays = {"x": rows["x"][:], "y": rows["y"][:]}
    assert search(n_trials=1, study_name="b", fit=arrays).best_value > 0


def test_a_dataset_without_targets_is_refused_before_training(search, data):
    """The error of the loss says what is missing, as it does for arrays."""
    x, y, _ = data
    inputs = tf.data.Dataset.from_tensor_slices(x).batch(16)
    pairs = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    with pytest.raises(ArgumentError, match=r"y=None: the loss .* compares with targets"):
        search(fit={"x": inputs, "y": None})
    with pytest.raises(ArgumentError, match=r"validation_data is a .* without targets"):
        search(study_name="b", fit={"x": pairs, "y": None, "validation_data": inputs})


def test_a_seed_fixes_the_chance_of_a_pipeline_that_a_function_makes(make_tuner):
    """Two searches see the same noise, which TensorFlow else draws anew for each pipeline."""

    def noisy():
        rows = tf.data.Dataset.from_tensor_slices((np.zeros((32, 4), "float32"), np.arange(32) % 3))
        return rows.map(lambda x, y: (x + tf.random.normal((4,)), y)).batch(8)

    options, fit = {"n_trials": 1, "storage": InMemoryStorage()}, {"epochs": 1, "verbose": 0}
    one, other = (
        make_tuner(build_eager, "loss", study_name=name, **options).search(noisy, **fit)
        for name in ("one", "two")
    )
    assert one.best_trial.intermediate_values == other.best_trial.intermediate_values
