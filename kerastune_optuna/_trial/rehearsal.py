"""Create the variables of a model before its first training step, without running anything."""

from __future__ import annotations

from typing import Any

import keras

from kerastune_optuna._backend import build_symbolically, strategy_of
from kerastune_optuna._data import FitArguments
from kerastune_optuna._trial import failure
from kerastune_optuna._trial.steps import OWN_STEPS, has_own, is_usual
from kerastune_optuna._trial.variables import (
    build_optimizer,
    lacks_variables,
    make_variables,
    scope_of,
    traced,
    unbuildable,
)

# If a model overrides these methods, only running them shows which variables they create.
_OWN_LOOPS = ("evaluate", "make_test_function", "make_train_function")


def rehearse(model: keras.Model, batch: Any) -> None:
    """Create the variables of a model, its metrics and its optimizer, without running anything.

    TensorFlow traces a function twice if the first trace creates variables, as it does when a
    training begins. The second trace would take a third of the time of a short training. With JAX,
    and for models of a `tf.distribute` strategy, Keras itself creates the variables beforehand.

    Args:
        model: The compiled model. It is left unchanged if creating variables now could change its
            results.
        batch: A symbolic batch of inputs and targets; None if the data does not describe itself.
    """
    if batch is None or not is_usual(model, *OWN_STEPS, *_OWN_LOOPS) or strategy_of(model):
        return
    x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    try:
        if type(model) is keras.Sequential and not model.built and isinstance(x, keras.KerasTensor):
            model.build(x.shape)
        if not model.built or y is None:  # only calling a subclassed model shows what it creates
            return
        build_symbolically(model, batch)
    except Exception as error:  # layers, losses and metrics of the user may raise anything
        if failure.is_of_memory(error):  # a half-built model could hide it from fit()
            raise
        return  # fit() makes the same calls next, with data, and raises the error
    import tensorflow as tf  # imported here, since other backends do not need it

    # fit() creates the optimizer's variables within a trace. There Keras loses what
    # ScheduleFreeAdamW assigns to them, so elsewhere it would train otherwise. This may raise:
    # Keras marks an optimizer as built before it is.
    tf.function(lambda: build_optimizer(model), autograph=False).get_concrete_function()


def names_of_metrics(model: keras.Model, fit: FitArguments) -> set[str]:
    """Return the names that an evaluation will log, without changing variables or generators.

    Returns:
        The names without "val_"; an empty set if only training shows them, as with JAX and PyTorch.
    """
    if keras.backend.backend() != "tensorflow" or has_own(model, *_OWN_LOOPS):
        return set()
    try:
        batch = fit.specification_of_a_batch()
        if has_own(model, *OWN_STEPS):
            if lacks_variables(model):
                make_variables(model, batch)
            return set(traced(model, model.test_step, batch))
        with scope_of(model):
            build_symbolically(model, batch)
        return set(model.get_metrics_result())
    except Exception as error:  # layers, losses and metrics of the user may raise anything
        if failure.is_of_memory(error):  # a half-built model could hide it from fit()
            raise
        return set()  # fit() makes the same calls next, with data, and raises the error


def make_ready_to_keep(model: keras.Model, fit: FitArguments) -> None:
    """Create a model's missing variables from the data that it is about to be trained on.

    Raises:
        BuilderError: They cannot be created, so weights could not be loaded into the model later.
    """
    if not lacks_variables(model):
        model.built = True
        return
    if keras.backend.backend() != "tensorflow":
        # With JAX and PyTorch, the first fit of a model reads, and shuffles, an extra batch to
        # build the model, its metrics and its optimizer. This fit of no epochs reads that batch, so
        # the next fit trains just as the first fit would have.
        model.fit(**{**fit.as_keywords(), "epochs": 0}, verbose=0)
        return
    try:
        make_variables(model, fit.specification_of_a_batch())
    except Exception as error:  # layers of the user may raise anything
        if failure.is_of_memory(error):  # a half-built model could hide it from fit()
            raise
        if not model.run_eagerly:
            return  # fit() traces the same code next, and raises the error
        raise unbuildable(model) from error
