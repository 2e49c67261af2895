"""Batches of small arrays, made once a training, as Keras makes them in each epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cache
from types import FunctionType
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import are_arrays, pipeline_of, split_as_fit, strategy_of
from kerastune_optuna._trial.steps import is_usual

_MOST = 16e6  # numbers: they are held a second time
_MOST_BATCHES = 2000  # to read one takes 0.3 ms
_MOST_SETS = 8  # of validation data: cross-validation has one for each fold
_MOST_KEPT = 1e5  # numbers of validation data whose batches are kept for later trainings
_COUNTED = ("steps_per_epoch", "validation_steps")  # with which an epoch reads only a part
_METHODS = ("fit", "evaluate")
_DATA = ("x", "y", "sample_weight")
_OF_ARRAYS = (*_DATA, "class_weight", "batch_size")  # what fit takes together with arrays alone
_kept: dict[str, Any] = {}  # the batches of the last validation data, by digests of its arrays


def batched(model: keras.Model, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Model.fit takes, with datasets of batches in place of small arrays.

    With TensorFlow, Keras makes a pipeline of functions from arrays, and opens it twice an epoch,
    and that of the validation data too. This takes 10 ms each time, which is most of a short epoch.
    TensorFlow draws the order of rows from the global seed anew whenever the pipeline is opened:
    the order is the same in each epoch, and so are the batches.

    Args:
        model: The compiled model.
        keywords: What Model.fit takes.
    """
    given = dict(keywords)
    counted = [keras.config.max_steps_per_epoch(), *(given.get(name) for name in _COUNTED)]
    if all(steps is None for steps in counted) and _trains_plainly(model) and _order_stays():
        return _with_batches(_with_validation(given))
    return given


def _trains_plainly(model: keras.Model) -> bool:
    """Whether the arrays of a model go to nobody but Keras's own fit, on one device."""
    is_wrapped = not vars(model).keys().isdisjoint(_METHODS) or not all(map(_is_own, _METHODS))
    return is_usual(model, *_METHODS) and strategy_of(model) is None and not is_wrapped


def _is_own(method: str) -> bool:
    """Whether a method is Keras's own: a tracker may have replaced it, to look at the arrays."""
    function = getattr(keras.Model, method)
    # A wrapper has the name and the module of what it wraps, but globals of its own.
    return type(function) is FunctionType and function.__globals__["__name__"].startswith("keras.")


def _with_validation(given: dict[str, Any]) -> dict[str, Any]:
    """Return what Model.fit takes, with batches of the validation data."""
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


def _with_batches(given: dict[str, Any]) -> dict[str, Any]:
    """Return what Model.fit takes, with batches of the data to train on."""
    arrays = {name: given.get(name) for name in _OF_ARRAYS}
    own = _batches({**arrays, "shuffle": given.get("shuffle", True)})
    if own is None:
        return given
    others = {name: value for name, value in given.items() if name not in _OF_ARRAYS}
    return {**others, "x": own, "shuffle": False}


def _same_batches(arrays: Mapping[str, Any]) -> Any:
    """Return what `_batches` returns for arrays whose order stays, made once if they are few."""
    if (key := _digest(arrays)) is None:
        return _batches(arrays)
    found = _kept.pop(key, None)
    _kept[key] = found = _batches(arrays) if found is None else found
    for oldest in list(_kept)[:-_MOST_SETS]:
        _kept.pop(oldest, None)  # another thread may have been faster
    return found


def _digest(arrays: Mapping[str, Any]) -> str | None:
    """Return a digest of small arrays of numbers; None for all else."""
    leaves = keras.tree.flatten([arrays[name] for name in _DATA])
    known = [one for one in leaves if isinstance(one, np.ndarray) and one.dtype.kind in "biuf"]
    if len(known) < sum(one is not None for one in leaves):
        return None
    if sum(one.size for one in known) > _MOST_KEPT:
        return None
    form = [arrays["batch_size"], keras.config.floatx(), *((one.shape, one.dtype) for one in known)]
    structure = keras.tree.map_structure(lambda one: one is None, [arrays[name] for name in _DATA])
    digest = hashlib.sha256(f"{form} {structure}".encode())
    for one in known:
        digest.update(one.tobytes())
    return digest.hexdigest()


def _batches(arrays: Mapping[str, Any]) -> Any:
    """Return the batches that Keras makes of arrays; None where they are no arrays, or large."""
    data = [arrays[name] for name in _DATA]
    if not are_arrays(*data) or not _are_small(keras.tree.flatten(data), arrays["batch_size"]):
        return None
    import tensorflow as tf  # here, since other backends do without

    pipeline = pipeline_of(**arrays)
    specs = keras.tree.flatten(pipeline.element_spec)
    if not all(isinstance(spec, tf.TensorSpec) and spec.dtype.size for spec in specs):
        return None  # sparse rows, or strings, whose size is open
    is_even = all(spec.shape[0] is not None for spec in specs)  # all batches have as many rows
    with tf.device("CPU:0"):
        batches = list(pipeline)
        made = _dataset_of(batches, is_even)
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return made.with_options(options) if made.element_spec == pipeline.element_spec else None


def _are_small(leaves: list[Any], size: int | None) -> bool:
    """Whether arrays of known shapes, none of them empty, take little memory and few batches."""
    shapes = [leaf.shape for leaf in leaves if leaf is not None]
    if any(None in shape or 0 in shape for shape in shapes):
        return False
    n_batches = shapes[0][0] / (size or 32)
    return sum(map(math.prod, shapes)) <= _MOST and n_batches <= _MOST_BATCHES


def _dataset_of(batches: list[Any], is_even: bool) -> Any:
    """Return a dataset of batches, of which the last one is smaller unless all are even."""
    import tensorflow as tf

    if even := batches if is_even else batches[:-1]:
        stacks = tf.nest.map_structure(lambda *parts: tf.stack(parts), *even)
        begin = tf.data.Dataset.from_tensor_slices(stacks)
    else:  # the size of a batch stays open
        no_rows = tf.nest.map_structure(lambda part: part[:0], batches[-1])
        begin = tf.data.Dataset.from_tensors(no_rows).take(0)
    return begin if is_even else begin.concatenate(tf.data.Dataset.from_tensors(batches[-1]))


@cache
def _order_stays() -> bool:
    """Whether rows come in the same order in each epoch, as in the TensorFlow that we know."""
    x, y, weights = np.arange(64), None, None
    pipeline = pipeline_of(x=x, y=y, sample_weight=weights, batch_size=64, shuffle=True)
    first, second = ([np.asarray(batch) for batch in pipeline] for _ in range(2))
    return bool(np.array_equal(first, second) and not np.array_equal(first[0].ravel(), x))
