"""A table of the shapes of inputs and targets, by which Keras tells what "accuracy" means."""

from functools import partial

import keras
from keras import layers as kl

from tests.zoo.animal import SPARSE, Animal, compiled, on_inputs, on_targets
from tests.zoo.data import in_datasets
from tests.zoo.layers import table


def ids(column):
    return (column * 2 + 8).clip(0, 19).astype("int32")


INPUTS = {
    "flat": lambda x: x[:, 0],
    "column": lambda x: x[:, :1],
    "wide": lambda x: x[:, :4],
    "flat_columns": lambda x: {"one": x[:, 0], "other": x[:, 1]},
    "flat_and_wide": lambda x: {"one": x[:, 0], "other": x[:, 1:4]},
    "two_ids": lambda x: {"user": ids(x[:, 0]), "item": ids(x[:, 1])},
}
TARGETS = {  # by the loss that takes them
    "classes": (SPARSE, lambda y: y),
    "class_column": (SPARSE, lambda y: y[:, None]),
    "one_hot": ("categorical_crossentropy", keras.utils.to_categorical),
    "binary": ("binary_crossentropy", lambda y: y == 1),
}
FORMS = {"arrays": lambda data: data, "tf_data": in_datasets}


def build(trial, inputs, loss):
    """Return a classifier of such inputs, whose columns are at least one number wide."""
    rows = INPUTS[inputs](table()["x"])
    if isinstance(rows, dict):
        given = {name: as_input(column, name) for name, column in rows.items()}
    else:
        given = as_input(rows)
    seen = [embedded(one) for one in keras.tree.flatten(given)]
    hidden = kl.Dense(8, "relu")(kl.Concatenate()(seen) if len(seen) > 1 else seen[0])
    is_binary = loss == "binary_crossentropy"
    last = kl.Dense(1, "sigmoid") if is_binary else kl.Dense(3, "softmax")
    return compiled(keras.Model(given, last(hidden)), trial, loss)


def as_input(rows, name=None):
    return keras.Input(rows.shape[1:] or (1,), name=name, dtype=str(rows.dtype))


def embedded(column):
    return kl.Flatten()(kl.Embedding(20, 4)(column)) if column.dtype == "int32" else column


def shaped(inputs, targets, form):
    """Return the table with inputs and targets of such shapes."""
    return FORMS[form](on_targets(TARGETS[targets][1], on_inputs(INPUTS[inputs], table())))


ANIMALS = {
    f"{inputs}_to_{targets}_{form}": Animal(
        partial(build, inputs=inputs, loss=loss), partial(shaped, inputs, targets, form)
    )
    for inputs in INPUTS
    for targets, (loss, _) in TARGETS.items()
    for form in FORMS
}
