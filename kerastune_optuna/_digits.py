"""Which models a speed-up leaves as they are, digit by digit: measured, and listed in one place.

A training is to be what plain `Model.fit` is. TensorFlow's optimiser of graphs rewrites arithmetic
where it finds a pattern: it fuses a tanh with the product before it, and reorders the terms of
BatchNormalization or RMSprop. What it makes of a graph depends on what surrounds the step, too. No
rule tells where that rounds otherwise, so what is listed here was measured, with seeds and sizes of
many kinds, and tests/test_plain_fit.py compares each entry with plain `fit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

# Where graphs go without their optimiser, these came out equal. With others the last digits differ:
# tanh, sigmoid, GELU, BatchNormalization, LayerNormalization, RMSprop; with half precision more.
_LEAN_LAYERS = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Dense)
_LEAN_ACTIVATIONS = (keras.activations.linear, keras.activations.relu, keras.activations.softmax)
_LEAN_OPTIMIZERS = (keras.optimizers.Adam, keras.optimizers.SGD)
_LEAN_LOSSES = ("sparse_categorical_crossentropy", "categorical_crossentropy", "mse", "mae")
_LEAN_METRICS = ("accuracy", "acc", "mse", "mae")
_HALF = ("bfloat16", "float16")
# Within a call of many steps, where the optimiser of graphs finds less to fuse, all layers of Keras
# came out equal, with all activations but these.
_NOT_IN_CALLS = ("silu", "swish")
# What an optimizer or a layer may have been asked for besides.
_EXTRAS = (
    *("clipnorm", "clipvalue", "global_clipnorm", "weight_decay", "use_ema", "amsgrad", "nesterov"),
    *("loss_scale_factor", "gradient_accumulation_steps"),
    *("kernel_regularizer", "bias_regularizer", "activity_regularizer"),
    *("kernel_constraint", "bias_constraint", "lora_enabled", "quantization_mode"),
)


def leaves_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model and of the models in it."""
    for layer in model.layers:
        yield from leaves_of(layer) if isinstance(layer, keras.Model) else [layer]


def stays_without_optimiser(model: keras.Model) -> bool:
    """Whether a model trains to the same digits without TensorFlow's optimiser of graphs."""
    parts = [*getattr(model, "operations", model.layers), model.optimizer]
    return (
        type(model).__module__.startswith("keras.")
        and all(type(part) in _LEAN_LAYERS for part in parts[:-1])
        and all(layer.activation in _LEAN_ACTIVATIONS for layer in parts[:-1] if _is_active(layer))
        and not any(layer.compute_dtype in _HALF for layer in parts[:-1])
        and type(model.optimizer) in _LEAN_OPTIMIZERS
        and not any(getattr(part, name, None) for part in parts for name in _EXTRAS)
        and model.loss in _LEAN_LOSSES
        and all(metric in _LEAN_METRICS for metric in _metrics(model))
    )


def stays_in_calls(model: keras.Model) -> bool:
    """Whether a model trains to the same digits with many steps a call."""
    parts = [*leaves_of(model), *getattr(model, "operations", [])]
    inner = [part.activation for part in parts if _is_active(part)]
    names = {getattr(one, "__name__", type(one).__name__).lower() for one in [*parts, *inner]}
    compiled = [model.optimizer, *keras.tree.flatten(model.loss), *_metrics(model)]
    # What others wrote may hold any arithmetic.
    return not names.intersection(_NOT_IN_CALLS) and all(
        map(_is_of_keras, [model, *parts, *inner, *compiled])
    )


def _is_of_keras(part: Any) -> bool:
    """Whether a layer, a function or a name is Keras's own."""
    return part is None or isinstance(part, str) or part.__module__.startswith("keras.")


def _is_active(layer: keras.layers.Layer) -> bool:
    """Whether a layer has an activation."""
    return getattr(layer, "activation", None) is not None


def _metrics(model: keras.Model) -> list[Any]:
    """Return what compile() got for metrics, or what is in no list."""
    compiled = model._compile_metrics
    if compiled is None:
        return []
    metrics = [compiled._user_metrics, compiled._user_weighted_metrics]
    return list(keras.tree.flatten([one for one in metrics if one]))
