"""Make the batches of small arrays once per training; Keras would make them in each epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from itertools import islice
from types import FunctionType
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import are_arrays, epochs_of, pipeline_of, split_as_fit, strategy_of
from kerastune_optuna._digest import digest
from kerastune_optuna._trial.steps import is_usual

_MOST = 16e6  # numbers in the arrays, since the batches are a second copy in memory
_MOST_BATCHES = 2000  # since reading one takes 0.3 ms
_MOST_SETS = 8  # of validation data, since cross-validation has one for each fold
_MOST_KEPT = 1e5  # numbers in validation data whose batches are kept for later trainings
_COUNTED = ("steps_per_epoch", "validation_steps")  # with these, an epoch may read only a part
_METHODS = ("fit", "evaluate")
_DATA = ("x", "y", "sample_weight")
_OF_ARRAYS = (*_DATA, "class_weight", "batch_size")  # arguments that fit() takes only with arrays
_kept: dict[str, Any] = {}  # the batches of recent validation data, by digests of its arrays


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
    may_stop = any(steps is not None for steps in counted)
    if may_stop or not (_trains_plainly(model) and _order_stays()):
        return given
    given = _with_validation(given)
    arrays = {name: given.get(name) for name in _OF_ARRAYS}
    own = _batches({**arrays, "shuffle": given.get("shuffle", True)})
    if own is None:
        return given
    others = {name: value for name, value in given.items() if name not in _OF_ARRAYS}
    return {**others, "x": own, "shuffle": False}


def _trains_plainly(model: keras.Model) -> bool:
    """Whether only Keras's own fit gets the arrays, and trains on one device."""
    for method in _METHODS:
        # A tracker may have replaced the method to inspect the arrays. A wrapper has the name and
        # the module of the function that it wraps, but not its globals.
        function = getattr(keras.Model, method)
        home = function.__globals__["__name__"] if type(function) is FunctionType else ""
        if method in vars(model) or not home.startswith("keras."):
            return False
    return is_usual(model, *_METHODS) and strategy_of(model) is None


def _with_validation(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of Model.fit, with the validation data as a dataset of batches."""
    validation, split = given.get("validation_data"), given.get("validation_split")
    if split and validation is None and are_arrays(*(given.get(name) for name in _DATA)):
        train, validation = split_as_fit(tuple(given.get(name) for name in _DATA), split)
        given = {**given, **dict(zip(_DATA, train, strict=True))}
    if validation is None:
        return given
    x, y, weights = keras.utils.unpack_x_y_sample_weight(validation)
    size = given.get("validation_batch_size") or given.get("batch_size")
    own = _same_batches({"x": x, "y": y, "sample_weight": weights, "batch_size": size})
    own = validation if own is None else own
    return {**given, "validation_data": own, "validation_split": 0.0, "validation_batch_size": size}


def _same_batches(arrays: Mapping[str, Any]) -> Any:
    """Return the batches of arrays that are not shuffled; reuse those of few numbers of NumPy."""
    data = [arrays[name] for name in _DATA]
    leaves = [one for one in keras.tree.flatten(data) if one is not None]
    are_numbers = all(isinstance(one, np.ndarray) and one.dtype.kind in "biuf" for one in leaves)
    if not are_numbers or sum(one.size for one in leaves) > _MOST_KEPT:
        return _batches(arrays)
    structure = keras.tree.map_structure(lambda one: one is None, data)
    key = digest(leaves, str(structure), arrays["batch_size"], keras.config.floatx())
    found = _kept.pop(key, None)
    _kept[key] = found = _batches(arrays) if found is None else found
    for oldest in list(_kept)[:-_MOST_SETS]:
        _kept.pop(oldest, None)  # another thread may have removed it already
    return found


def _batches(arrays: Mapping[str, Any]) -> Any:
    """Return the batches that Keras makes of arrays; None for other or large data."""
    data = [arrays[name] for name in _DATA]
    if not are_arrays(*data):
        return None
    shapes = [leaf.shape for leaf in keras.tree.flatten(data) if leaf is not None]
    if any(None in shape or 0 in shape for shape in shapes):
        return None  # of unknown size, or empty
    n_batches = shapes[0][0] / (arrays["batch_size"] or 32)
    if sum(map(math.prod, shapes)) > _MOST or n_batches > _MOST_BATCHES:
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
