"""What makes a training take less time and changes no digit of it.

A model's variables are created before TensorFlow traces its step, one call makes many steps, and
small arrays become batches once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from types import FunctionType
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import (
    are_arrays,
    build_symbolically,
    compiled_metrics,
    epochs_of,
    layers_within,
    optimizer_of,
    pipeline_of,
    split_as_fit,
    strategy_of,
)
from kerastune_optuna._data import FitArguments
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._trial import failure
from kerastune_optuna._trial.variables import OWN_LOOPS, OWN_STEPS, build_optimizer, has_own

# Limits for the steps that one call makes. tests/benchmarks/trainings.py measured that tracing a
# call of many steps takes 0.1 s longer.
_PAYS_FROM = 200  # training steps
_MOST_STEPS = 128  # in one call, since Ctrl-C waits until the call ends
_MOST_WORK = 2e10  # multiplications in one call: about a second on a slow machine
_LEAST_STEPS = 4  # in one call, since fewer save no time
_PASSES = 3  # the gradient costs about twice as much as the prediction

# TensorFlow's graph optimizer fuses fewer operations within a call of many steps, so that results
# with these activations are rounded differently. With all other activations, all Keras layers
# trained to exactly the same values.
_ROUNDED = ("silu", "swish")

# fit() creates the optimizer's variables within a trace, where Keras loses what ScheduleFreeAdamW
# assigns to them when it is built, so it must be built there too. Two others may hold it. Keras's
# other optimizers assign nothing when they are built, and a trace takes some 10 ms per variable.
ASSIGNING = ("ScheduleFreeAdamW", "LossScaleOptimizer", "MultiOptimizer")

_KINDS, _ENDS = ("", "train_", "test_"), ("begin", "end")
_BATCH_METHODS = [f"on_{kind}batch_{end}" for kind in _KINDS for end in _ENDS]

# Limits for the batches that are made of small arrays:
_MOST_NUMBERS = 16e6  # in the arrays, since the batches are a second copy in memory
_MOST_BATCHES = 2000  # since reading one takes 0.3 ms
_COUNTED = ("steps_per_epoch", "validation_steps")  # with these, an epoch may read only a part
_METHODS = ("fit", "evaluate")
_DATA = ("x", "y", "sample_weight")
_OF_ARRAYS = (*_DATA, "class_weight", "batch_size")  # arguments that fit() takes only with arrays


def is_usual(model: keras.Model, *methods: str) -> bool:
    """Whether TensorFlow compiles a model for one device, and it overrides none of the methods."""
    if keras.backend.backend() != "tensorflow" or model.run_eagerly:
        return False
    return not has_own(model, *methods) and model.distribute_strategy.num_replicas_in_sync == 1


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
    if batch is None or not is_usual(model, *OWN_STEPS, *OWN_LOOPS) or strategy_of(model):
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
    # What follows may raise, and must: Keras marks an optimizer as built before it is.
    kind = type(optimizer_of(model))
    if kind.__module__.startswith("keras.") and kind.__name__ not in ASSIGNING:
        build_optimizer(model)
    else:
        import tensorflow as tf  # imported here, since other backends do not need it

        tf.function(lambda: build_optimizer(model), autograph=False).get_concrete_function()


def check_steps(steps: object) -> None:
    """Reject an invalid number of steps per call, if it is not "auto".

    Raises:
        ArgumentError: The number is invalid; the message says what to pass instead.
    """
    instead = 'Pass "auto", or the number of steps per call; the default of Keras is 1.'
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise ArgumentTypeError(f"steps_per_execution={steps!r} is not a whole number. {instead}")
    if steps < 1:
        raise ArgumentError(f"steps_per_execution={steps} is less than one step. {instead}")
    version = tuple(map(int, keras.version().split(".")[:2]))
    if steps > 1 and keras.backend.backend() == "torch" and version < (3, 16):
        raise ArgumentError(
            f"steps_per_execution={steps} is more than Keras {keras.version()} makes in one call "
            'with PyTorch. Pass 1 or "auto".'
        )


def set_steps(
    model: keras.Model, fit: FitArguments, callbacks: Sequence[keras.callbacks.Callback]
) -> None:
    """Set the model's steps per call to the user's number, or to one that only saves time.

    Args:
        model: The compiled model.
        fit: The arguments that it will be trained with.
        callbacks: The user's callbacks; if one of them acts on batches, "auto" changes nothing, nor
            does it for a builder's own fit, which may add such callbacks.
    """
    if isinstance(fit.steps_per_execution, int):
        model.steps_per_execution = fit.steps_per_execution
        return
    if (
        fit.is_free
        or model.steps_per_execution != 1
        or not is_usual(model, "make_train_function")
        or any(map(_acts_on_batches, callbacks))
        or not _stays_the_same(model)
    ):
        return
    steps, work = fit.steps_of_an_epoch(), _work(model, fit)
    if steps is None or work is None or steps * fit.epochs < _PAYS_FROM:
        return
    most = min(steps, _MOST_STEPS, int(_MOST_WORK / max(work, 1)))
    # If there is more data, Keras makes all steps of the last call, even beyond steps_per_epoch= or
    # validation_steps=. So the number of steps per call must divide both.
    if counted := fit.counted_steps:
        common = math.gcd(*counted)
        most = max(n for n in range(1, max(most, 1) + 1) if common % n == 0)
    if most >= _LEAST_STEPS:
        model.steps_per_execution = most


def _acts_on_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback acts on batches, of which it would see only one per call."""
    if getattr(callback, "save_freq", None) == "epoch":  # ModelCheckpoint and similar callbacks
        return False
    base = keras.callbacks.Callback
    return any(
        getattr(getattr(callback, name), "__func__", None) is not getattr(base, name)
        for name in _BATCH_METHODS
    )


def _stays_the_same(model: keras.Model) -> bool:
    """Whether a model trains to exactly the same values with many steps per call."""
    # Wrappers like Bidirectional hold further layers.
    parts = [*layers_within(model), *getattr(model, "operations", [])]
    inner = [part.activation for part in parts if getattr(part, "activation", None) is not None]
    names = {getattr(one, "__name__", type(one).__name__).lower() for one in [*parts, *inner]}
    compiled = [model.optimizer, *keras.tree.flatten(model.loss), *compiled_metrics(model)]
    used = [model, *parts, *inner, *compiled]
    # Code that is not Keras's may compute anything.
    homes = (one.__module__ for one in used if one is not None and not isinstance(one, str))
    return names.isdisjoint(_ROUNDED) and all(home.startswith("keras.") for home in homes)


def _work(model: keras.Model, fit: FitArguments) -> float | None:
    """Estimate the multiplications of one step; None if the shapes are not known."""
    shape = fit.shape_of_a_batch()
    if shape is None or not model.built:  # building it here would mean guessing fit's inputs
        return None
    rows, *row = shape
    of_one_row, layers = 0, [*model.layers]
    for layer in layers:
        if isinstance(layer, keras.Model):
            layers += layer.layers  # which this loop then reaches, too
            continue
        # A layer uses each weight at several positions, as for each pixel of an image.
        try:
            ends = [end.shape[1:-1] for end in keras.tree.flatten([layer.input, layer.output])]
        except (AttributeError, ValueError):  # only layers of functional models know both
            ends = [row]
        # 128 is a guess for sizes that are not fixed, as for texts of any length.
        positions = max(math.prod(128 if size is None else size for size in end) for end in ends)
        of_one_row += positions * sum(math.prod(one.shape) for one in layer.weights)
    return _PASSES * rows * of_one_row


def batched(model: keras.Model, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of Model.fit, with datasets of batches in place of small arrays.

    With TensorFlow, Keras turns arrays into a pipeline of functions. In each epoch, it opens this
    pipeline twice, and that of the validation data too. Each time takes 10 ms, most of a short
    epoch. Whenever the pipeline is opened, TensorFlow draws the order of rows from the global seed
    again, so the order and the batches are the same in each epoch.

    Args:
        model: The compiled model.
        keywords: The arguments of Model.fit.
    """
    given = dict(keywords)
    counted = [keras.config.max_steps_per_epoch(), *(given.get(name) for name in _COUNTED)]
    if any(steps is not None for steps in counted):
        return given
    # Only Keras's own fit may get the batches, and only if it trains on one device.
    is_plain = is_usual(model, *_METHODS) and strategy_of(model) is None
    for method in _METHODS:
        # A tracker may have replaced the method to inspect the arrays. A wrapper has the name and
        # the module of the function that it wraps, but not its globals.
        function = getattr(keras.Model, method)
        home = function.__globals__["__name__"] if type(function) is FunctionType else ""
        is_plain = is_plain and method not in vars(model) and home.startswith("keras.")
    if not (is_plain and _order_stays()):
        return given
    given = _with_validation(given)
    arrays = {name: given.get(name) for name in _OF_ARRAYS}
    own = _batches({**arrays, "shuffle": given.get("shuffle", True)})
    if own is None:
        return given
    others = {name: value for name, value in given.items() if name not in _OF_ARRAYS}
    return {**others, "x": own, "shuffle": False}


def _with_validation(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of Model.fit, with the validation data as a dataset of batches."""
    validation, split = given.get("validation_data"), given.get("validation_split")
    data = tuple(given.get(name) for name in _DATA)
    if split and validation is None and are_arrays(data):
        train, validation = split_as_fit(data, split)
        given = {**given, **dict(zip(_DATA, train, strict=True))}
    if validation is None:
        return given
    x, y, weights = keras.utils.unpack_x_y_sample_weight(validation)
    size = given.get("validation_batch_size") or given.get("batch_size")
    own = _batches({"x": x, "y": y, "sample_weight": weights, "batch_size": size})
    own = validation if own is None else own
    return {**given, "validation_data": own, "validation_split": 0.0, "validation_batch_size": size}


def _batches(arrays: Mapping[str, Any]) -> Any:
    """Return the batches that Keras makes of arrays; None for other or large data."""
    data = tuple(arrays[name] for name in _DATA)
    if not are_arrays(data):
        return None
    shapes = [leaf.shape for leaf in keras.tree.flatten(data) if leaf is not None]
    if any(None in shape or 0 in shape for shape in shapes):
        return None  # of unknown size, or empty
    n_batches = shapes[0][0] / (arrays["batch_size"] or 32)
    if sum(map(math.prod, shapes)) > _MOST_NUMBERS or n_batches > _MOST_BATCHES:
        return None
    import tensorflow as tf  # imported here, since other backends do not need it

    pipeline = pipeline_of(**arrays)
    specs = keras.tree.flatten(pipeline.element_spec)
    if not all(isinstance(spec, tf.TensorSpec) and spec.dtype.size for spec in specs):
        return None  # sparse rows, or strings, whose size is unknown
    is_even = all(spec.shape[0] is not None for spec in specs)  # all batches have equally many rows
    with tf.device("CPU:0"):
        batches = list(pipeline)
        made = _dataset_of(batches, is_even)
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return made.with_options(options) if made.element_spec == pipeline.element_spec else None


def _dataset_of(batches: list[Any], is_even: bool) -> Any:
    """Return a dataset of batches, of which the last one may be smaller unless `is_even`."""
    import tensorflow as tf

    if even := batches if is_even else batches[:-1]:
        stacks = tf.nest.map_structure(lambda *parts: tf.stack(parts), *even)
        begin = tf.data.Dataset.from_tensor_slices(stacks)
    else:  # the batch size in the dataset's spec stays None
        no_rows = tf.nest.map_structure(lambda part: part[:0], batches[-1])
        begin = tf.data.Dataset.from_tensors(no_rows).take(0)
    return begin if is_even else begin.concatenate(tf.data.Dataset.from_tensors(batches[-1]))


@cache
def _order_stays() -> bool:
    """Whether TensorFlow shuffles rows into the same order in each epoch, as known versions do."""
    x = np.arange(64)
    epochs = epochs_of(x=x, y=None, sample_weight=None, batch_size=64, shuffle=True)
    first, second = (np.ravel(batches) for batches in islice(epochs, 2))
    return bool(np.array_equal(first, second) and not np.array_equal(first, x))
