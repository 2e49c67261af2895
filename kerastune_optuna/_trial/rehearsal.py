"""The variables that a model would make in its first training step, made before without a run."""

from __future__ import annotations

from typing import Any

import keras

from kerastune_optuna import _reason
from kerastune_optuna._backend import build_symbolically, compiled_parts, strategy_of
from kerastune_optuna._data import FitArguments
from kerastune_optuna._trial.steps import has_own, is_usual
from kerastune_optuna._trial.variables import (
    build_optimizer,
    lacks_variables,
    make_variables,
    scope_of,
    traced,
    unbuildable,
)

# Where a model has methods of its own for steps or losses, only running them shows what they make.
_OWN_STEPS = ("compute_loss", "compute_metrics", "test_step", "train_step")
_OWN_LOOPS = ("evaluate", "make_test_function", "make_train_function")


def rehearse(model: keras.Model, batch: Any) -> None:
    """Make the variables of a model, its metrics and its optimizer, and run nothing.

    TensorFlow traces a function a second time where its first trace made variables, as the first
    trace of a training does. The second one would take a third of a short training. On JAX, and for
    models of a `tf.distribute` strategy, Keras itself makes the variables before.

    Args:
        model: The compiled model; left as it came where a difference could show.
        batch: A symbolic batch of inputs and targets; None where the data does not tell.
    """
    if batch is None or not is_usual(model, *_OWN_STEPS, *_OWN_LOOPS) or strategy_of(model):
        return
    x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    try:
        is_made = _make_all(model, x, y)
    except Exception as error:  # layers, losses and metrics of the user may raise anything
        _raise_if_of_memory(error)
        return  # fit() calls the same with data next, and raises what is wrong
    if is_made:
        build_optimizer(model)  # which Keras marks as built before it is, and so this may raise


def _raise_if_of_memory(error: Exception) -> None:
    """Raise what fit() may not: a model that is half built can hide that memory ran out."""
    if _reason.is_of_memory(error):
        raise error


def _make_all(model: keras.Model, x: Any, y: Any) -> bool:
    """Make the variables of a model, its loss and its metrics; False where only a call tells."""
    if type(model) is keras.Sequential and not model.built and isinstance(x, keras.KerasTensor):
        model.build(x.shape)
    if not model.built or y is None:  # of a subclassed model only a call tells what it makes
        return False
    prediction = model.compute_output_spec(x)
    for compiled in compiled_parts(model):  # metrics and loss learn the names and shapes of outputs
        if not compiled.built:
            compiled.build(y, prediction)
    return True


def names_of_metrics(model: keras.Model, fit: FitArguments) -> set[str]:
    """Return what an evaluation will log, and leave all variables and generators as they are.

    Returns:
        The names without "val_"; none where only a training tells, as with JAX and PyTorch.
    """
    if keras.backend.backend() != "tensorflow" or has_own(model, *_OWN_LOOPS):
        return set()
    was_built = getattr(model.optimizer, "built", True)  # a model of own steps may have none
    try:
        return _logged(model, fit)
    except Exception as error:  # layers, losses and metrics of the user may raise anything
        _raise_if_of_memory(error)
        if not was_built and model.optimizer.built:
            raise  # Keras marks it as built before it is
        return set()  # fit() calls the same with data next, and raises what is wrong


def _logged(model: keras.Model, fit: FitArguments) -> set[str]:
    batch = fit.specification_of_a_batch()
    if has_own(model, *_OWN_STEPS):
        if lacks_variables(model):
            make_variables(model, batch)
        return set(traced(model, model.test_step, batch))
    with scope_of(model):
        build_symbolically(model, batch)
    return set(model.get_metrics_result())


def _begin_to_fit(model: keras.Model, fit: FitArguments) -> None:
    """Let Keras build a model, its metrics and its optimizer, as JAX and PyTorch need it.

    The first fit of a model reads, and shuffles, one batch more for that. This fit of no epochs
    reads that batch, so that the next fit does not, and trains as the first fit would have.
    """
    model.fit(**{**fit.as_keywords(), "epochs": 0}, verbose=0)


def make_ready_to_keep(model: keras.Model, fit: FitArguments) -> None:
    """Make what a model lacks from the data that it is about to be trained on.

    Raises:
        BuilderError: It cannot be made, so that weights could not be loaded into the model later.
    """
    if not lacks_variables(model):
        model.built = True
        return
    if keras.backend.backend() != "tensorflow":
        _begin_to_fit(model, fit)
        return
    try:
        make_variables(model, fit.specification_of_a_batch())
    except Exception as error:  # layers of the user may raise anything
        _raise_if_of_memory(error)
        if not model.run_eagerly:
            return  # fit() traces the same next, and raises what is wrong
        raise unbuildable(model) from error
