"""The floating-point operations of a model's forward pass, counted by the tools of its backend."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import keras

from kerastune_optuna._backend import seeds_kept

# TensorFlow has no count for many operations. Most of them take no time; these do.
_HEAVY = re.compile(r"Conv|MatMul|Dot|Einsum|RNN|FFT|PyFunc|Xla|^(Stateless)?(While|If|Case)$")
# XLA counts a loop as one pass, and does not know what cuDNN does.
_UNCOUNTED_BY_XLA = re.compile(r"stablehlo\.while|@__cudnn\w+")
_UNROLLED = " (an RNN needs unroll=True)"


def count(model: keras.Model, batch: Callable[[], Any]) -> int:
    """Return how many floating-point operations a forward pass of one row takes.

    Nothing of the model or of the generators changes.

    Args:
        model: A model that has its variables.
        batch: Returns a symbolic batch of the data, if the model does not say what it takes.

    Raises:
        NotImplementedError: Something in the model cannot be counted.
        Exception: Layers of the user may raise anything.
    """
    backend = keras.backend.backend()
    counted = {"tensorflow": _with_tensorflow, "jax": _with_jax, "torch": _with_torch}[backend]
    with seeds_kept():
        own = getattr(model, "inputs", None) or [None]  # a subclassed model has none
        if all(isinstance(one, keras.KerasTensor) and None not in one.shape[1:] for one in own):
            inputs = own[0] if isinstance(model, keras.Sequential) else model.input
        else:
            inputs = keras.utils.unpack_x_y_sample_weight(batch())[0]
        if unknown := [one.shape for one in keras.tree.flatten(inputs) if None in one.shape[1:]]:
            raise NotImplementedError(f"the shape of its input, {unknown[0]}, is open")
        row = keras.tree.map_structure(
            lambda one: keras.KerasTensor((1, *one.shape[1:]), one.dtype), inputs
        )
        return int(counted(model, row))


def _with_tensorflow(model: keras.Model, inputs: Any) -> int:
    """Count with the statistics of TensorFlow's profiler, which itself leaves out functions."""
    import tensorflow as tf
    from tensorflow.python.profiler.internal import flops_registry  # noqa: F401 # fills a registry

    def forward(given: Any) -> Any:
        return model(given, training=False)

    specs = keras.tree.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), inputs)
    return _of_graph(tf.function(forward).get_concrete_function(specs).graph)


def _of_graph(graph: Any) -> int:
    """Return the FLOPs of what the outputs need; a layer may compute more."""
    needed, waiting = set(), [output.op for output in graph.outputs]
    while waiting:
        if (operation := waiting.pop()) not in needed:
            needed.add(operation)
            waiting += [one.op for one in operation.inputs]
    total = 0
    for operation in needed:
        if name := operation.node_def.attr["f"].func.name:
            total += _of_graph(graph._get_function(name).graph)
            continue
        counted = _counted(operation)
        if counted is None and _HEAVY.search(operation.type):
            unrolled = _UNROLLED * operation.type.endswith(("While", "RNN"))
            raise NotImplementedError(f"TensorFlow does not count {operation.type}{unrolled}")
        total += int(counted or 0)
    return total


def _counted(operation: Any) -> Any:
    """Return the FLOPs of an operation; None if TensorFlow or a size in the graph is lacking."""
    from tensorflow.python.framework import ops
    from tensorflow.python.util import deprecation

    if operation.type == "Einsum":  # of which TensorFlow has no statistic
        labels = operation.get_attr("equation").decode().partition("->")[0].split(",")
        sizes: dict[str, int | None] = {}
        for names, tensor in zip(labels, operation.inputs, strict=True):
            sizes |= dict(zip(names, tensor.shape.as_list(), strict=False))
        fixed = [size for label, size in sizes.items() if size is not None and label != "."]
        return 2 * math.prod(fixed) if len(labels) == 2 and len(fixed) == len(sizes) else None
    with deprecation.silence():  # an error that passed through it would keep it silent
        try:
            return ops.get_stats_for_node_def(operation.graph, operation.node_def, "flops").value
        except ValueError:
            return None


def _with_jax(model: keras.Model, inputs: Any) -> int:
    """Count with XLA's cost analysis, before XLA compiles anything."""
    import jax

    def forward(values: Any, given: Any) -> Any:
        with keras.StatelessScope(state_mapping=zip(model.variables, values, strict=True)):
            return model(given, training=False)

    given = [one.value for one in model.variables], inputs
    shapes = jax.tree.map(lambda one: jax.ShapeDtypeStruct(one.shape, one.dtype), given)
    lowered = jax.jit(forward).lower(*shapes)
    if (found := _UNCOUNTED_BY_XLA.search(lowered.as_text())) is not None:
        raise NotImplementedError(f"XLA does not count {found[0]}{_UNROLLED}")
    return int(lowered.cost_analysis().get("flops", 0))


def _with_torch(model: keras.Model, inputs: Any) -> int:
    """Count with PyTorch's FlopCounterMode, which needs a row to run on."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    row = keras.tree.map_structure(lambda one: keras.ops.zeros(one.shape, one.dtype), inputs)
    # Without these settings, it would leave out the attention of a CPU, and the RNNs of a GPU.
    plainly = sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False)
    counter = FlopCounterMode(display=False)
    with plainly[0], plainly[1], keras.StatelessScope(), torch.no_grad(), counter:
        model(row, training=False)
    return int(counter.get_total_flops())
