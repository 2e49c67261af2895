"""Rows picked out of arrays of every kind that Model.fit takes."""

from __future__ import annotations

from typing import Any

import keras
from numpy.typing import NDArray


def pick(data: Any, rows: NDArray[Any] | slice) -> Any:
    """Return some rows of arrays, nested ones too."""
    return keras.tree.map_structure(lambda leaf: _rows_of(leaf, rows), data)


def _rows_of(leaf: Any, rows: NDArray[Any] | slice) -> Any:
    if leaf is None:
        return None
    if hasattr(leaf, "iloc"):  # of pandas, whose [] picks columns
        return leaf.iloc[rows]
    if hasattr(leaf, "tocsr"):  # of SciPy, where some sparse arrays have no []
        return leaf.tocsr()[rows]
    if isinstance(rows, slice):
        return leaf[rows]
    if type(leaf).__module__.startswith("tensorflow."):  # whose [] takes no list
        import tensorflow as tf  # the data is TensorFlow's

        return tf.gather(leaf, rows)
    return leaf[rows]
