"""Where the data of a resumed training begins: with the batch after the last one it was given."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import keras

from kerastune_optuna._data.datasets import shuffles
from kerastune_optuna._data.fit import FitArguments
from kerastune_optuna._data.sources import (
    INFINITE,
    GeneratorFunction,
    cardinality,
    is_tf_dataset,
    makes_batches,
)


def why_not_resumed(fit: FitArguments, *, is_distributed: bool) -> str | None:
    """Return why a training cannot be resumed with the batch after an epoch; None if it can.

    With steps_per_epoch=, an epoch begins where the last one ended, except if each epoch reads all
    batches.

    Args:
        fit: The arguments of the training.
        is_distributed: Whether a strategy of TensorFlow trains the model.
    """
    steps, batches, backend = fit.steps_per_epoch, fit.n_batches, keras.backend.backend()
    if steps is None:
        return None
    if backend == "torch":
        # Keras makes an iterator here that an unbroken training does not, and PyTorch draws for it.
        return (
            f"with steps_per_epoch={steps} on PyTorch, a resumed training would draw other random "
            "numbers. Leave steps_per_epoch out, if the data ends."
        )
    is_whole = batches is not None and batches <= steps
    if is_whole or isinstance(fit.x, GeneratorFunction):
        return None
    # Otherwise Keras reads a batch first to build the model. After skip(), this may draw more
    # orders than in the training from its beginning.
    builds = backend != "tensorflow" or is_distributed
    if _is_endless(fit.x) and not (builds and shuffles(fit.pipelines.get("x", fit.x))):
        return None
    what = f"a {type(fit.x).__name__}" if makes_batches(fit.x) else "arrays"
    return (
        f"with steps_per_epoch={steps}, an epoch begins where the last one ended, and {what} "
        "cannot be read from there. Pass a function that returns an endless generator, or, with "
        "TensorFlow and one device, a tf.data.Dataset that ends with repeat()."
    )


def resumed(fit: FitArguments, epochs: int, steps_per_execution: int) -> FitArguments:
    """Return the arguments of a training that some epochs were trained of.

    Args:
        fit: The arguments of the training from its beginning.
        epochs: How many epochs were trained.
        steps_per_execution: How many steps the model makes per call.
    """
    evaluated = [_evaluates(fit, epoch) for epoch in range(epochs)]
    if fit.beginning is not None:
        fit.beginning.skip(evaluated)
    data, validation = fit.pipelines.get("x"), fit.pipelines.get("validation_data")
    if validation is not None:
        _open(
            validation, sum(evaluated) * _readings(validation, fit.others.get("validation_steps"))
        )
    steps = fit.steps_per_epoch
    if steps is not None and (_is_endless(fit.x) or isinstance(fit.x, GeneratorFunction)):
        # Keras makes all steps of the last call of an epoch, even beyond steps_per_epoch=.
        read = epochs * math.ceil(steps / steps_per_execution) * steps_per_execution
        if data is not None:
            return replace(fit, pipelines={**fit.pipelines, "x": data.skip(read)})
        generators = fit.x
        return replace(fit, x=GeneratorFunction(lambda: islice(generators, read, None)))
    if data is not None:  # with a number of steps, Keras opens it anew only after its end
        _open(data, epochs * (_readings(data, None) if steps is None else 1))
    return fit


def _is_endless(data: Any) -> bool:
    return is_tf_dataset(data) and cardinality(data) == INFINITE


def _evaluates(fit: FitArguments, epoch: int) -> bool:
    """Whether Keras evaluates the validation data after an epoch, counted from the first one."""
    number, frequency = fit.first_epoch + epoch + 1, fit.others.get("validation_freq", 1)
    return number % frequency == 0 if isinstance(frequency, int) else number in frequency


def _readings(data: Any, steps: int | None) -> int:
    """Return how often Keras opens a pipeline to read it once, or some steps of it."""
    # It opens a pipeline whose known end it has reached once more, and may not read it then.
    batches = cardinality(data)
    return 1 + (batches >= 0 and (steps is None or steps >= batches))


def _open(data: Any, times: int) -> None:
    """Let the shuffles of a pipeline draw as many orders as if it had been opened some times."""
    for _ in range(times):
        iter(data)
