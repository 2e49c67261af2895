"""One plain model made of several, whose outputs it averages with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import keras

from kerastune_optuna._backend import compiled_with, symbolic_inputs
from kerastune_optuna._exceptions import ArgumentError

_OF_TWO_CLASSES = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
_COMPILED = ("loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly")
_TINY = 1e-37  # the least probability, so that its logarithm is finite


def _to_mean(output: Any, loss: Any) -> Any:
    """Return a symbolic output as it is averaged: logits as probabilities."""
    if not getattr(loss, "from_logits", False):
        return output
    if isinstance(loss, _OF_TWO_CLASSES):
        return keras.ops.sigmoid(output)
    return keras.ops.softmax(output, axis=getattr(loss, "axis", -1))


def _from_mean(mean: Any, loss: Any) -> Any:
    """Return a symbolic mean as an output: averaged probabilities as logits if models return them.

    The output then suits the loss and the metrics that the models were compiled with.
    """
    if not getattr(loss, "from_logits", False):
        return mean
    logits = keras.ops.log(keras.ops.maximum(mean, _TINY))
    if isinstance(loss, _OF_TWO_CLASSES):
        logits -= keras.ops.log(keras.ops.maximum(1 - mean, _TINY))
    return logits


class Pool:
    """Join models of trials by inputs that they share; freeze and rename them.

    Frozen models have no penalties from weight regularizers, which would add up in the loss of an
    ensemble.

    Args:
        models: The models by the numbers of their trials, the best one first.
        inputs: Symbolic inputs, for models that are no graphs and so have none of their own.

    Raises:
        ArgumentError: The models take different inputs, return different outputs, or have no loss.
    """

    def __init__(self, models: Mapping[int, keras.Model], inputs: Any) -> None:
        self._best = next(iter(models.values()))
        self._given = compiled_with(self._best) if self._best.compiled else {}
        if self._given.get("loss") is None:
            raise ArgumentError(
                "build_model makes models without a loss, and evaluating the mean of their "
                "predictions needs one. Pass loss= to compile() in build_model, or average the "
                "predictions of best_models() yourself."
            )
        graphs = {number: symbolic_inputs(model) for number, model in models.items()}
        inputs_of = {number: own for number, own in graphs.items() if own is not None}
        _check_equal("take", inputs_of)
        self._inputs = _inputs_like(next(iter(inputs_of.values()), inputs))
        models = _apart(models)
        for number, model in models.items():
            model.trainable, model.name = False, f"trial_{number}"
            model.optimizer, model.compiled = None, False  # or the saved file would contain both
        outputs = {number: model(self._inputs) for number, model in models.items()}
        _check_equal("return", outputs)
        self._structure = next(iter(outputs.values()))
        self._names, self._losses = self._names_and_losses()
        flat = map(keras.tree.flatten, outputs.values())
        self._flat = [list(map(_to_mean, outputs, self._losses)) for outputs in flat]

    def _names_and_losses(self) -> tuple[list[str], list[Any]]:
        """Return the name and the loss of each output, as the best model's compile() knew them."""
        names, loss = list(getattr(self._best, "output_names", None) or ()), self._best.loss
        paths = [path for path, _ in keras.tree.flatten_with_path(self._structure)]
        if isinstance(self._structure, Mapping) or len(set(names)) != len(paths):
            names = ["_".join(map(str, path)) or "output" for path in paths]
        if isinstance(loss, Mapping):
            return names, [loss.get(name) for name in names]
        is_list = isinstance(loss, list | tuple) and len(loss) == len(names)
        return names, list(loss) if is_list else [loss] * len(names)

    def predictor(self) -> keras.Model:
        """Return the model that predicts the outputs of each member, as they are averaged."""
        return keras.Model(self._inputs, self._flat)

    def judge(self) -> keras.Model:
        """Return a compiled model that takes means of outputs and evaluates them as an ensemble."""
        means = [keras.Input(one.shape[1:], dtype=one.dtype) for one in self._flat[0]]
        return self._compiled(means, means, "judge")

    def ensemble(self, weights: Mapping[int, float]) -> keras.Model:
        """Return the compiled weighted mean of some members, given by their places in the pool."""
        terms = [
            [keras.layers.Rescaling(weight, dtype=one.dtype)(one) for one in self._flat[place]]
            for place, weight in weights.items()
        ]
        means = [reduce(keras.ops.add, parts) for parts in zip(*terms, strict=True)]
        return self._compiled(self._inputs, means, "ensemble")

    def _compiled(self, inputs: Any, means: Sequence[Any], name: str) -> keras.Model:
        """Return a model whose outputs have the names and the nesting of the best model's."""
        outputs = map(_from_mean, means, self._losses)
        named = [
            keras.layers.Activation("linear", name=own, dtype=output.dtype)(output)
            for own, output in zip(self._names, outputs, strict=True)
        ]
        nested = keras.tree.pack_sequence_as(self._structure, named)
        model = keras.Model(inputs, nested, name=name)
        given = {key: self._given.get(key) for key in _COMPILED}
        model.compile(**{key: value for key, value in given.items() if value is not None})
        model.optimizer.build(model.trainable_variables)  # else loading a saved file would warn
        return model


def _apart(models: Mapping[int, keras.Model]) -> dict[int, keras.Model]:
    """Return the models without shared variables, some of which a saved file would lose."""
    seen: set[int] = set()
    apart = {}
    for number, model in models.items():
        apart[number], ids = model, set(map(id, model.variables))
        if seen & ids and symbolic_inputs(model) is not None:  # say, a base that stays frozen
            apart[number] = keras.models.clone_model(model)
            apart[number].set_weights(model.get_weights())
        seen |= ids
    return apart


def _inputs_like(tensors: Any) -> Any:
    """Return new inputs with the names, shapes and nesting of symbolic tensors."""
    made = []
    for path, tensor in keras.tree.flatten_with_path(tensors):
        name = path[-1] if path and isinstance(path[-1], str) else tensor.name
        given = {"dtype": tensor.dtype, "sparse": tensor.sparse, "name": name}
        made.append(keras.Input(tensor.shape[1:], **given))
    return keras.tree.pack_sequence_as(tensors, made)


def _check_equal(verb: str, tensors: Mapping[int, Any]) -> None:
    """Refuse models whose inputs or outputs differ in shape from those of the first one."""
    shapes = {}
    for number, nested in tensors.items():
        named = (  # each with its name if it has one; batches may differ
            f"{'.'.join(map(str, path))} {tensor.shape[1:]}".strip()
            for path, tensor in keras.tree.flatten_with_path(nested)
        )
        shapes[number] = ", ".join(named)
    first = next(iter(shapes), None)
    for number, shape in shapes.items():
        if first is not None and shape != shapes[first]:
            raise ArgumentError(
                f"One model cannot hold those of trials {first} and {number}, which {verb} "
                f"different shapes: {shapes[first]} and {shape}. A parameter decides them, such as "
                "the length of a window. Pass a smaller top=, or search with one value of it."
            )
