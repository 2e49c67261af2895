"""Check the user's data before anything trains on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import undisturbed
from kerastune_optuna._check import count
from kerastune_optuna._data.sources import (
    INFINITE,
    LOADERS,
    OF_GRAIN,
    GeneratorFunction,
    classes,
    count_rows,
    is_loader,
    lacks_targets,
    makes_batches,
    size_of,
)
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

_HUGGING_FACE = (
    'Pass its columns as arrays, like dataset.with_format("numpy")["x"][:], or batches: '
    'dataset.to_tf_dataset(batch_size=32, columns="x", label_cols="y").'
)
# Classes that Model.fit does not take, and what to pass instead.
_BARE = {
    **dict.fromkeys((("datasets", "Column"), ("datasets", "Dataset")), _HUGGING_FACE),
    ("datasets", "DatasetDict"): f"Take one of its datasets. {_HUGGING_FACE}",
    ("datasets", "IterableDataset"): "Pass a function that returns a generator of batches.",
    ("torch", "Dataset"): "Pass torch.utils.data.DataLoader(dataset, batch_size=32).",
}
_NO_ARRAY = "Pass arrays, or data that makes batches, like a tf.data.Dataset or a DataLoader"
_ONE_TYPE = 'Convert all columns to one type, as frame.astype("float32") does'
_NUMBERS = "Pass arrays of numbers"
_OR_TEXTS = (
    ", or of strings: numpy.array(texts, dtype=object) with one dimension, or tf.constant(texts)"
)
_PIECE = 1 << 20  # values of an array that are checked for NaN and infinity at a time


def check_parts(x: Any, y: Any, others: Mapping[str, Any]) -> None:
    """Reject targets or weights that do not belong to the inputs, or inputs that are missing.

    Args:
        x: The inputs, or batches that contain the targets too.
        y: The targets.
        others: The other arguments of Model.fit.

    Raises:
        ArgumentError: The message says which parts do not belong to each other.
    """
    if x is None:
        raise ArgumentTypeError(
            "x=None is no training data. Pass data that Model.fit takes, or a function "
            "that returns it, without arguments or of the trial."
        )
    if not makes_batches(x):
        _check_even("x", x, "y", y)
        _check_even("x", x, "sample_weight", others.get("sample_weight"), "weights")
        return
    batches = f"was passed with x of type {type(x).__name__}, whose batches"
    if y is not None:
        raise ArgumentError(f"y {batches} already contain the targets. Leave y out.")
    for name in weights_within(x):
        if others.get(name) is not None:
            raise ArgumentError(
                f"{name} {batches} must contain the weights for Model.fit. Leave {name} out, and "
                "let the batches be (x, y, sample_weight)."
            )


def weights_within(x: Any) -> tuple[str, ...]:
    """Return the names of arguments for weights that Keras takes only from the batches of x."""
    if not makes_batches(x):
        return ()
    is_unweighted = isinstance(x, GeneratorFunction) or not classes(x).isdisjoint(LOADERS)
    return ("sample_weight", "class_weight")[: 1 + is_unweighted]


def check_evaluated_data(x: Any, y: Any, weights: Any) -> None:
    """Reject data that Model.evaluate does not take, or that cannot be read more than once.

    Raises:
        ArgumentError: The data is missing, has no targets or no end, or is uneven.
    """
    if x is None or is_loader(x) or isinstance(x, Iterator):
        raise ArgumentTypeError(
            f"x of type {type(x).__name__} is not data that can be evaluated more than once. Pass "
            "arrays with y=, or batches, such as a tf.data.Dataset; call functions yourself."
        )
    if lacks_targets(x, y):
        raise ArgumentError(
            "There are no targets to compare predictions with. Pass y=, or a dataset of (x, y)."
        )
    if (size := size_of(x)) in (0, INFINITE):
        kind = "endless" if size else "empty"
        raise ArgumentError(f"x is {kind}. Pass data with one row or more, and with an end.")
    check_parts(x, y, {"sample_weight": weights})


def check_validation_data(validation_data: Any, validation_steps: int | None) -> None:
    """Reject validation data that cannot be evaluated.

    Raises:
        ArgumentError: The data is empty, endless, uneven, or can be read only once.
    """
    parts = validation_data if isinstance(validation_data, list | tuple) else [validation_data]
    if len(parts) not in (1, 2, 3):
        raise ArgumentError(
            f"validation_data has {count(len(parts), 'part')}. Pass (x,), (x, y), or "
            "(x, y, sample_weight), or a dataset."
        )
    x, *others = parts
    if isinstance(x, GeneratorFunction):
        raise ArgumentTypeError(
            "validation_data is a function that returns a generator, which would give each epoch "
            "other batches. Return arrays, or a dataset that starts over in each epoch."
        )
    check_source("validation_data", x, validation_steps, "validation_steps")
    for place, other in enumerate(others, start=1):
        _check_even("validation_data[0]", x, f"[{place}]", other)


def check_split(split: object, x: Any) -> None:
    """Reject a share of the rows that cannot be held out for validation.

    Raises:
        ArgumentError: It is no fraction, or rows of `x` cannot be held out.
    """
    if isinstance(split, bool) or not isinstance(split, int | float) or not 0 <= split < 1:
        raise ArgumentError(
            f"validation_split={split!r} is not a fraction of the data. Pass a number from 0 up "
            "to, but not including, 1."
        )
    if split and makes_batches(x):
        raise ArgumentError(
            f"validation_split={split} works for arrays, not for x of type {type(x).__name__}. "
            "Pass validation_data instead."
        )


def check_source(name: str, data: Any, steps: int | None, steps_name: str) -> None:
    """Reject one source of batches that has none, is endless, or can be read only once.

    Args:
        name: The argument of Model.fit that contains the source.
        data: The source.
        steps: The number of steps that an epoch takes from it; None for all.
        steps_name: The argument of Model.fit with this number.

    Raises:
        ArgumentError: The message says what to pass instead.
    """
    if isinstance(data, Iterator):
        raise ArgumentTypeError(
            f"{name} is a {type(data).__name__}, which can be read only once, but each trial reads "
            "it again. Pass a function without arguments that returns one, to be called for each."
        )
    if isinstance(data, GeneratorFunction) and steps is None:
        raise ArgumentError(
            f"{name} is a function that returns a generator, of which Keras reads only two batches "
            f"after the first epoch. Pass {steps_name}=, and let the generator be endless."
        )
    kinds = classes(data)
    if instead := next((_BARE[one] for one in kinds if one in _BARE), None):
        raise ArgumentTypeError(
            f"{name} is a {type(data).__name__}, which Model.fit does not take. {instead}"
        )
    size, batch = size_of(data), None
    if is_read := size != 0 and not kinds.isdisjoint(OF_GRAIN):
        with undisturbed():  # Grain's data begins anew each time, and only reading shows its rows
            batch = next(iter(data), None)
    if size == 0 or (is_read and batch is None):
        use = "validate" if name.startswith("validation") else "train"
        raise ArgumentError(f"{name} is empty: there is nothing to {use} on. Pass one row or more.")
    if size == INFINITE and steps is None:
        raise ArgumentError(
            f"{name} is endless (repeat()), so an epoch would never end. Pass {steps_name}=, or "
            "a dataset without repeat()."
        )
    # All parts of a batch have the same number of rows, unlike most parts of a single row.
    sizes = {tuple(np.shape(leaf))[:1] for leaf in keras.tree.flatten(batch) if leaf is not None}
    if is_read and (() in sizes or len(sizes) > 1):
        raise ArgumentError(
            f"{name} gives single rows, but Model.fit takes batches. Call batch(32) of the "
            "dataset, or give the DataLoader operations=[grain.transforms.Batch(32)]."
        )


def _check_even(
    name: str, one: Any, other_name: str, other: Any, others_are: str = "targets"
) -> None:
    rows, others = count_rows(one), count_rows(other)
    if rows is not None and others is not None and rows != others:
        raise ArgumentError(
            f"{name} has {count(rows, 'row')} and {other_name} has {others}. Pass as many "
            f"{others_are} as inputs."
        )


def fault_of_type(leaf: Any) -> str | None:
    """Return what Keras does not take in an array and what to pass instead, or None."""
    if not getattr(leaf, "shape", ()) or not (hasattr(leaf, "dtype") or hasattr(leaf, "columns")):
        return f"{type(leaf).__name__}, which is not an array. {_NO_ARRAY}"
    has_texts = keras.backend.backend() == "tensorflow"
    instead = _NUMBERS + _OR_TEXTS * has_texts
    if has_texts and isinstance(leaf, np.ndarray) and leaf.dtype.hasobject:
        are_texts = all(isinstance(one, str) for one in leaf)
        return None if are_texts else f"values of type {leaf.dtype}. {instead}"
    is_table = hasattr(leaf, "columns")  # a DataFrame of pandas, whose columns may differ in type
    for column, dtype in leaf.dtypes.items() if is_table else [("", leaf.dtype)]:
        try:
            keras.backend.standardize_dtype(dtype)
        except ValueError:
            where = f" in column {column!r}" if is_table else ""
            return f"values of type {dtype}{where}. {instead}"
    if is_table and leaf.iloc[:0].to_numpy().dtype.hasobject:
        types = " and ".join(dict.fromkeys(map(str, leaf.dtypes)))
        return f"columns of types {types}, which have no common type. {_ONE_TYPE}"
    return None


def fault_of_values(leaf: Any) -> str | None:
    """Return which value of an array or table is not finite, and where it is, or None."""
    if hasattr(leaf, "columns") and hasattr(leaf, "iloc"):
        for place, name in enumerate(leaf.columns):
            if (found := _first_fault(leaf.iloc[:, place])) is not None:
                return f"{found} in column {name!r}"
        return None
    return _first_fault(leaf)


def _first_fault(array: Any) -> str | None:
    """Return the first value of an array that is not finite, and where it is, or None."""
    # Each library has its own dtypes, but all have "float" in their names.
    if not getattr(array, "shape", ()) or "float" not in str(array.dtype):
        return None
    step = max(1, _PIECE // max(1, math.prod(map(int, array.shape[1:]))))
    rows = getattr(array, "iloc", array)
    for begin in range(0, int(array.shape[0]), step):
        with np.errstate(over="ignore"):  # values too large for float32 become infinity
            piece = np.asarray(keras.ops.convert_to_numpy(rows[begin : begin + step]))
            values = piece.astype(keras.config.floatx(), copy=False)  # as they are trained on
        if not (finite := np.isfinite(values)).all():
            row, *place = np.unravel_index(finite.argmin(), values.shape)
            value = "NaN" if np.isnan(values[(row, *place)]) else "infinity"
            column = f", column {place[0]}" if len(place) == 1 else ""
            return f"{value} (first in row {begin + row}{column})"
    return None
