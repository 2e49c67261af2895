"""A step before the training, in which optimizer and metrics make their variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kerastune_optuna._steps import is_usual

# What must be Keras's own for a step without a graph to do what fit does.
_OWN = ("evaluate", "make_test_function", "make_train_function", "test_step", "train_step")


def rehearse(model: keras.Model, sample: tuple[Any, ...] | None) -> dict[str, Any] | None:
    """Evaluate a batch without a graph, and leave no trace of it but the variables.

    TensorFlow traces a function a second time where its first trace made variables, as that of a
    training does: it would take a third of a short one.

    Args:
        model: The compiled model.
        sample: Inputs and targets; None where there is no batch at hand.

    Returns:
        The logs; None where the model was left as it came, since a difference could show.
    """
    # A batch of so many rows would become part of the input shape of a model that came unbuilt.
    if sample is None or not model.built or not is_usual(model, *_OWN):
        return None
    try:
        with _unchanged(model):
            logs = model.test_step(sample)
    except Exception:  # the user's layers may raise anything, if only for want of a graph
        return None  # evaluate() or fit() runs the same layers next, and raises what is wrong
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return dict(logs)


@contextmanager
def _unchanged(model: keras.Model) -> Iterator[None]:
    """Put back what an evaluation may change: seeds, states of recurrent layers, metrics."""
    before = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
        model.reset_metrics()
