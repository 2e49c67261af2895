"""What a model makes in its first training step, made before TensorFlow traces one."""

from __future__ import annotations

from typing import Any

import keras

from kerastune_optuna._steps import is_usual

# Where a model has steps or losses of its own, only running them tells what they make.
_OWN = (
    "compute_loss",
    "compute_metrics",
    "evaluate",
    "make_test_function",
    "make_train_function",
    "test_step",
    "train_step",
)


def rehearse(model: keras.Model, batch: tuple[Any, Any] | None) -> None:
    """Make the variables of a model, its metrics and its optimizer, and run nothing.

    TensorFlow traces a function a second time where its first trace made variables, as that of a
    training does: it would take a third of a short one. Keras does the same on JAX.

    Args:
        model: The compiled model; left as it came where a difference could show.
        batch: Symbolic inputs and targets; None where the data does not tell.
    """
    if batch is None or not is_usual(model, *_OWN):
        return
    try:
        _make_variables(model, *batch)
    except Exception:  # layers, losses and metrics of the user may raise anything
        return  # fit() calls the same with data next, and raises what is wrong


def _make_variables(model: keras.Model, x: Any, y: Any) -> None:
    if type(model) is keras.Sequential and not model.built and isinstance(x, keras.KerasTensor):
        model.build(x.shape)
    if not model.built:  # of a subclassed model only a call tells what it makes
        return
    _build_metrics(model, y, model.compute_output_spec(x))
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _build_metrics(model: keras.Model, y: Any, prediction: Any) -> None:
    """Let the compiled metrics and loss learn the names and shapes of the outputs."""
    for compiled in (model._compile_metrics, model._compile_loss):
        if compiled is not None and not compiled.built:
            compiled.build(y, prediction)
