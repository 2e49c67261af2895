"""How many training steps the model makes in one call into TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import keras

from kerastune_optuna._backend import compiled_metrics, layers_within
from kerastune_optuna._data import FitArguments
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

# tests/benchmarks/trainings.py measured that tracing a call of many steps takes 0.1 s longer.
_PAYS_FROM = 200  # training steps
_MOST_STEPS = 128  # in one call, since Ctrl-C waits until the call ends
_MOST_WORK = 2e10  # multiplications in one call: about a second on a slow machine
_LEAST_STEPS = 4  # in one call, since fewer save no time
_PASSES = 3  # the gradient costs about twice as much as the prediction

# TensorFlow's graph optimizer fuses fewer operations within a call of many steps, so that results
# with these activations are rounded differently. With all other activations, all Keras layers
# trained to exactly the same values.
_ROUNDED = ("silu", "swish")

# A model that overrides these methods may train whatever it holds.
OWN_STEPS = ("compute_loss", "compute_metrics", "test_step", "train_step")

_KINDS, _ENDS = ("", "train_", "test_"), ("begin", "end")
_BATCH_METHODS = [f"on_{kind}batch_{end}" for kind in _KINDS for end in _ENDS]


def check_steps(steps: object) -> None:
    """Reject an invalid number of steps per call.

    Raises:
        ArgumentError: The number is invalid; the message says what to pass instead.
    """
    instead = 'Pass "auto", or the number of steps per call; the default of Keras is 1.'
    if steps == "auto":
        return
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise ArgumentTypeError(f"steps_per_execution={steps!r} is not a whole number. {instead}")
    if steps < 1:
        raise ArgumentError(f"steps_per_execution={steps} is less than one step. {instead}")
    if steps > 1 and keras.backend.backend() == "torch":
        raise ArgumentError(
            f"steps_per_execution={steps} is more than Keras makes in one call with PyTorch. Pass "
            '1 or "auto".'
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
    elif (
        not fit.is_free
        and model.steps_per_execution == 1
        and is_usual(model, "make_train_function")
        and not any(_acts_on_batches(callback) for callback in callbacks)
        and _stays_the_same(model)
    ):
        model.steps_per_execution = _best_steps(model, fit)


def is_usual(model: keras.Model, *methods: str) -> bool:
    """Whether TensorFlow compiles a model for one device, and it overrides none of the methods."""
    if keras.backend.backend() != "tensorflow" or model.run_eagerly:
        return False
    return not has_own(model, *methods) and model.distribute_strategy.num_replicas_in_sync == 1


def has_own(model: keras.Model, *methods: str) -> bool:
    """Whether a model's class overrides at least one of these methods of keras.Model."""
    return any(getattr(type(model), name) is not getattr(keras.Model, name) for name in methods)


def _acts_on_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback acts on batches, of which it would see only one per call."""
    if getattr(callback, "save_freq", None) == "epoch":  # ModelCheckpoint and similar callbacks
        return False
    base = keras.callbacks.Callback
    return any(
        getattr(getattr(callback, name), "__func__", None) is not getattr(base, name)
        for name in _BATCH_METHODS
    )


def _best_steps(model: keras.Model, fit: FitArguments) -> int:
    """Return the best number of steps per call; 1 if more would save no time or change results."""
    steps, work = fit.steps_of_an_epoch(), _work(model, fit)
    if steps is None or work is None or steps * fit.epochs < _PAYS_FROM:
        return 1
    most = min(steps, _MOST_STEPS, int(_MOST_WORK / max(work, 1)))
    # If there is more data, Keras makes all steps of the last call, even beyond steps_per_epoch= or
    # validation_steps=. So the number of steps per call must divide both.
    if counted := fit.counted_steps:
        common = math.gcd(*counted)
        most = max(n for n in range(1, max(most, 1) + 1) if common % n == 0)
    return most if most >= _LEAST_STEPS else 1


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
    of_one_row = 0
    for layer in _leaves(model):
        # A layer uses each weight at several positions, as for each pixel of an image.
        try:
            ends = [end.shape[1:-1] for end in keras.tree.flatten([layer.input, layer.output])]
        except (AttributeError, ValueError):  # only layers of functional models know these
            ends = [row]
        # 128 is a guess for sizes that are not fixed, as for texts of any length.
        positions = max(math.prod(128 if size is None else size for size in end) for end in ends)
        of_one_row += positions * sum(math.prod(one.shape) for one in layer.weights)
    return _PASSES * rows * of_one_row


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model and of its nested models."""
    for layer in model.layers:
        yield from _leaves(layer) if isinstance(layer, keras.Model) else [layer]
