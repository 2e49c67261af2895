"""Find NaN and infinity in arrays."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastune_optuna._data.fit import FitArguments
from kerastune_optuna._data.kinds import named_arrays

_PIECE = 1 << 20  # values of an array that are checked at a time


def find(fit: FitArguments) -> str | None:
    """Return where the data is not finite, like "x holds NaN in column 'age'", or None."""
    try:
        faults = ((name, _fault(leaf)) for name, leaf in named_arrays(fit.arrays))
        return next((f"{name} holds {fault}" for name, fault in faults if fault), None)
    except Exception:  # the user's data may raise anything, and a trial must not fail for a hint
        return None


def _fault(leaf: Any) -> str | None:
    """Return which value of an array or table is not finite, and where it is, or None."""
    if hasattr(leaf, "columns") and hasattr(leaf, "iloc"):
        for place, name in enumerate(leaf.columns):
            if (found := _first(leaf.iloc[:, place])) is not None:
                return f"{found} in column {name!r}"
        return None
    if hasattr(leaf, "flat_values"):  # a ragged tensor, of which only the values are stored
        stored = leaf.flat_values
    elif hasattr(leaf, "dense_shape"):  # a sparse tensor
        stored = leaf.values
    else:
        stored = leaf.tocoo().data if hasattr(leaf, "tocoo") else leaf
    found = _first(stored)
    return found if found is None or stored is leaf else found.partition(" (")[0]


def _first(array: Any) -> str | None:
    """Return the first value of an array that is not finite, and where it is, or None."""
    # Each library has its own dtypes, but all have "float" in their names.
    if not getattr(array, "shape", ()) or "float" not in str(array.dtype):
        return None
    step = max(1, _PIECE // max(1, math.prod(map(int, array.shape[1:]))))
    rows = getattr(array, "iloc", array)
    for begin in range(0, int(array.shape[0]), step):
        values = _as_trained(rows[begin : begin + step])
        if not (finite := np.isfinite(values)).all():
            row, *place = np.unravel_index(finite.argmin(), values.shape)
            value = "NaN" if np.isnan(values[(row, *place)]) else "infinity"
            column = f", column {place[0]}" if len(place) == 1 else ""
            return f"{value} (first in row {begin + row}{column})"
    return None


def _as_trained(piece: Any) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # values too large for float32 become infinity
        values: NDArray[Any] = np.asarray(keras.ops.convert_to_numpy(piece))
        return values.astype(keras.config.floatx(), copy=False)
