"""Pick rows from arrays of every type that Model.fit takes."""

from __future__ import annotations

from typing import Any

import keras
from numpy.typing import NDArray


def pick(data: Any, rows: NDArray[Any] | slice) -> Any:
    """Return the given rows of arrays, which may be nested."""
    return keras.tree.map_structure(lambda leaf: _rows_of(leaf, rows), data)


def _rows_of(leaf: Any, rows: NDArray[Any] | slice) -> Any:
    if leaf is None:
        return None
    if hasattr(leaf, "iloc"):  # pandas, where [] picks columns
        return leaf.iloc[rows]
    if hasattr(leaf, "tocsr"):  # SciPy, where some sparse arrays do not support []
        return leaf.tocsr()[rows]
    if isinstance(rows, slice):
        return leaf[rows]
    if type(leaf).__module__.startswith("tensorflow."):  # where [] does not take a list
        import tensorflow as tf  # installed, since the data is TensorFlow's

        return tf.gather(leaf, rows)
    return leaf[rows]
