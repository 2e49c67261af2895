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
    steps, backend = fit.steps_per_epoch, keras.backend.backend()
    goes_on = _is_endless(fit.x) or isinstance(fit.x, GeneratorFunction)
    if fit.is_free and goes_on:  # a later fit of the builder's would get what is left, too
        return "a fit of your own may read endless data several times. Pass data that ends."
    if steps is None:
        return None
    if backend == "torch":
        # Keras makes an iterator here that an unbroken training does not, and PyTorch draws for it.
        return (
            "with steps_per_epoch= on PyTorch, a resumed training would draw other random numbers. "
            "Leave steps_per_epoch out, if the data ends."
        )
    is_whole = fit.n_batches is not None and fit.n_batches <= steps
    if is_whole or isinstance(fit.x, GeneratorFunction):
        return None
    # Otherwise Keras reads a batch first to build the model. After skip(), this may draw more
    # orders than in the training from its beginning.
    builds = backend != "tensorflow" or is_distributed
    if _is_endless(fit.x) and not (builds and shuffles(fit.pipelines.get("x", fit.x))):
        return None
    what = f"a {type(fit.x).__name__}" if makes_batches(fit.x) else "arrays"
    return (
        f"with steps_per_epoch=, an epoch begins where the last one ended, and {what} cannot be "
        "read from there. Pass a function that returns an endless generator, or, with "
        "TensorFlow and one device, a tf.data.Dataset that ends with repeat()."
    )


def skip_datasets(fit: FitArguments, epochs: int) -> None:
    """Let PyDatasets change as in some epochs; Keras must have begun to train with them."""
    if fit.beginning is not None:
        fit.beginning.skip(_evaluations(fit, epochs))


def resumed(fit: FitArguments, epochs: int, steps_per_execution: int) -> FitArguments:
    """Return the arguments of a training that some epochs were trained of.

    Args:
        fit: The arguments of the training from its beginning.
        epochs: How many epochs were trained.
        steps_per_execution: How many steps the model makes per call.
    """
    data, validation = fit.pipelines.get("x"), fit.pipelines.get("validation_data")
    if validation is not None:
        caps = fit.others.get("validation_steps"), keras.config.max_steps_per_epoch()
        read = min((_read(cap, steps_per_execution) for cap in caps if cap), default=None)
        _open(validation, sum(_evaluations(fit, epochs)) * _openings(validation, read))
    steps = fit.steps_per_epoch
    if steps is not None and (_is_endless(fit.x) or isinstance(fit.x, GeneratorFunction)):
        read = epochs * _read(steps, steps_per_execution)
        if data is not None:
            return replace(fit, pipelines={**fit.pipelines, "x": data.skip(read)})
        generators = fit.x
        return replace(fit, x=GeneratorFunction(lambda: islice(generators, read, None)))
    if data is not None:  # with a number of steps, Keras opens it anew only after its end
        _open(data, epochs * (_openings(data, None) if steps is None else 1))
    return fit


def _is_endless(data: Any) -> bool:
    return is_tf_dataset(data) and cardinality(data) == INFINITE


def _evaluations(fit: FitArguments, epochs: int) -> list[bool]:
    """Return for each of the first epochs whether Keras evaluates the validation data after it."""
    frequency = fit.others.get("validation_freq", 1)
    numbers = range(fit.first_epoch + 1, fit.first_epoch + 1 + epochs)
    if isinstance(frequency, int):
        return [number % frequency == 0 for number in numbers]
    return [number in frequency for number in numbers]


def _read(steps: int, per_call: int) -> int:
    """Return how many batches Keras reads for some steps: all those of the last call."""
    return math.ceil(steps / per_call) * per_call


def _openings(data: Any, read: int | None) -> int:
    """Return how often Keras opens a pipeline to read some batches of it, or all."""
    # TensorFlow opens a pipeline whose known end was reached once more, and may not read it then;
    # the iterators of the other backends open it as they are read.
    batches = cardinality(data)
    at_end = batches >= 0 and (read is None or read >= batches)
    return 1 + (at_end and keras.backend.backend() == "tensorflow")


def _open(data: Any, times: int) -> None:
    """Let the shuffles of a pipeline draw as many orders as if it had been opened some times."""
    for _ in range(times):
        iter(data)
