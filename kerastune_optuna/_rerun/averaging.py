"""One plain model of several: its outputs are the weighted means of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy import special

from kerastune_optuna._backend import compiled_with, symbolic_inputs
from kerastune_optuna._exceptions import ArgumentError

_OF_TWO_CLASSES = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
_COMPILED = ("loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly")
_TINY = float(np.finfo("float32").tiny)


class Values:
    """Average an output as it is: values, or probabilities."""

    def averaged(self, outputs: Sequence[Any], weights: Sequence[float]) -> Any:
        """Return the symbolic mean of symbolic outputs."""
        pairs = zip(outputs, weights, strict=True)
        return reduce(add, [keras.layers.Rescaling(w, dtype=one.dtype)(one) for one, w in pairs])

    def to_mean(self, output: NDArray[Any]) -> NDArray[Any]:
        """Return what is averaged of a predicted output."""
        return np.asarray(output, "float64")

    def from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """Return an output of which `to_mean` makes this mean."""
        return np.asarray(mean, "float32")


@dataclass(frozen=True)
class Logits(Values):
    """Average the probabilities that an output's logits stand for, and return the mean's logits.

    So the mean suits the loss and the metrics that the models were compiled with.

    Args:
        axis: The axis of the classes.
    """

    axis: int = -1

    def averaged(self, outputs: Sequence[Any], weights: Sequence[float]) -> Any:
        """Return the symbolic mean, in logarithms, since a probability may round to 0."""
        logs = [keras.ops.log_softmax(one, axis=self.axis) for one in outputs]
        return _log_of_mean(logs, weights)

    def to_mean(self, output: NDArray[Any]) -> NDArray[Any]:
        """Return the probabilities of predicted logits."""
        return np.asarray(special.softmax(np.asarray(output, "float64"), axis=self.axis))

    def from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """Return the logits of probabilities."""
        return np.asarray(np.log(np.maximum(mean, _TINY)), "float32")


class LogitsOfTwo(Values):
    """Do the same for outputs of which each is the logit of one probability."""

    def averaged(self, outputs: Sequence[Any], weights: Sequence[float]) -> Any:
        """Return the symbolic mean: the logarithm of the odds."""
        yes, no = ([keras.ops.log_sigmoid(sign * one) for one in outputs] for sign in (1, -1))
        return _log_of_mean(yes, weights) - _log_of_mean(no, weights)

    def to_mean(self, output: NDArray[Any]) -> NDArray[Any]:
        """Return the probabilities of predicted logits."""
        return np.asarray(special.expit(np.asarray(output, "float64")))

    def from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """Return the logits of probabilities."""
        return np.asarray(special.logit(np.clip(mean, _TINY, 1 - 1e-16)), "float32")


def _log_of_mean(logs: Sequence[Any], weights: Sequence[float]) -> Any:
    shares = [one + float(np.log(w)) for one, w in zip(logs, weights, strict=True)]
    return reduce(keras.ops.logaddexp, shares)


def _scale_of(loss: Any) -> Values:
    """Return how an output with this loss is averaged."""
    if not getattr(loss, "from_logits", False):
        return Values()
    return LogitsOfTwo() if isinstance(loss, _OF_TWO_CLASSES) else Logits(getattr(loss, "axis", -1))


class Pool:
    """Join models of trials by inputs that they share; they are frozen and renamed for it.

    Frozen models have no penalties from weight regularizers, which would add up in the loss of an
    ensemble.

    Args:
        models: The models by the numbers of their trials, the best one first.
        inputs: Symbolic inputs, for models that are no graphs and so have none of their own.

    Raises:
        ArgumentError: The models take different inputs, or return different outputs.
    """

    def __init__(self, models: Mapping[int, keras.Model], inputs: Any) -> None:
        self._best = next(iter(models.values()))
        self._given = compiled_with(self._best)
        graphs = {number: symbolic_inputs(model) for number, model in models.items()}
        known = {number: of for number, of in graphs.items() if of is not None}
        _check_equal("take", known)
        self._inputs = _inputs_like(next(iter(known.values()), inputs))
        models = _apart(models)
        for number, model in models.items():
            model.trainable, model.name = False, f"trial_{number}"
            model.optimizer, model.compiled = None, False  # or the saved file would contain these
        self._outputs = {number: model(self._inputs) for number, model in models.items()}
        _check_equal("return", self._outputs)
        self._structure = next(iter(self._outputs.values()))
        self._names = self._output_names()
        self._flat = [keras.tree.flatten(one) for one in self._outputs.values()]

    def _output_names(self) -> list[str]:
        """Return the names by which the best model's compile() knew its outputs."""
        own = getattr(self._best, "output_names", None) or ()
        paths = [path for path, _ in keras.tree.flatten_with_path(self._structure)]
        if isinstance(self._structure, Mapping) or len(set(own)) != len(paths):
            return ["_".join(map(str, path)) or "output" for path in paths]
        return list(own)

    @property
    def scales(self) -> list[Values]:
        """How each output is averaged, as the loss of the best model says."""
        loss = self._best.loss
        if isinstance(loss, Mapping):
            return [_scale_of(loss.get(name)) for name in self._names]
        several = isinstance(loss, list | tuple) and len(loss) == len(self._names)
        return list(map(_scale_of, loss if several else [loss] * len(self._names)))

    def predictor(self) -> keras.Model:
        """Return the model that predicts the outputs of all members, one after the other."""
        return keras.Model(self._inputs, self._flat)

    def judge(self) -> keras.Model:
        """Return a compiled model that takes outputs, and returns them as its own."""
        inputs = [keras.Input(one.shape[1:], dtype=one.dtype) for one in self._flat[0]]
        return self._compiled(inputs, inputs, "judge")

    def ensemble(self, weights: Mapping[int, float]) -> keras.Model:
        """Return the compiled weighted mean of some members, given by their places in the pool."""
        members = [self._flat[place] for place in weights]
        shares = list(weights.values())
        columns = zip(self.scales, zip(*members, strict=True), strict=True)
        means = [scale.averaged(outputs, shares) for scale, outputs in columns]
        return self._compiled(self._inputs, means, "ensemble")

    def _compiled(self, inputs: Any, outputs: Sequence[Any], name: str) -> keras.Model:
        """Return a model whose outputs have the names and the nesting of the best model's."""
        named = [
            keras.layers.Activation("linear", name=own, dtype=one.dtype)(one)
            for own, one in zip(self._names, outputs, strict=True)
        ]
        nested = keras.tree.pack_sequence_as(self._structure, named)
        model = keras.Model(inputs, nested, name=name)
        given = {key: self._given.get(key) for key in _COMPILED}
        model.compile(**{key: value for key, value in given.items() if value is not None})
        model.optimizer.build(model.trainable_variables)  # so that a saved file loads without ado
        return model


def _apart(models: Mapping[int, keras.Model]) -> dict[int, keras.Model]:
    """Return the models without variables in common, of which a saved file would lose some."""
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
    for path, one in keras.tree.flatten_with_path(tensors):
        name = path[-1] if path and isinstance(path[-1], str) else one.name
        given = {"dtype": one.dtype, "sparse": one.sparse, "name": name}
        made.append(keras.Input(one.shape[1:], **given))
    return keras.tree.pack_sequence_as(tensors, made)


def _check_equal(verb: str, tensors: Mapping[int, Any]) -> None:
    """Refuse models whose inputs or outputs differ in shape from those of the first one."""
    shapes = {number: _shapes_of(one) for number, one in tensors.items()}
    first = next(iter(shapes), None)
    for number, shape in shapes.items():
        if first is not None and shape != shapes[first]:
            raise ArgumentError(
                f"One model cannot hold those of trials {first} and {number}, which {verb} "
                f"different shapes: {shapes[first]} and {shape}. A parameter decides them, such as "
                "the length of a window. Pass a smaller top=, or search with one value of it."
            )


def _shapes_of(tensors: Any) -> str:
    named = [
        f"{'.'.join(map(str, path))} {one.shape[1:]}".strip()  # batches may differ
        for path, one in keras.tree.flatten_with_path(tensors)
    ]
    return ", ".join(named)
