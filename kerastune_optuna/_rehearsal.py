"""A step before the training, in which optimizer and metrics make their variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

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
    if sample is None or not _is_usual(model):
        return None
    try:
        with _unchanged(model):
            logs = model.test_step(sample)
    except Exception:  # of the user's layers, in whatever way: fit meets it again, and tells
        return None
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return dict(logs)


def _is_usual(model: keras.Model) -> bool:
    """Whether Keras alone says how this model trains: on one device, its input shapes known."""
    if keras.backend.backend() != "tensorflow" or not model.built or model.run_eagerly:
        return False
    is_own_loop = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in _OWN)
    return not is_own_loop and model.distribute_strategy.num_replicas_in_sync == 1


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
