"""Tell datasets of single rows, which need a batch_size=, from datasets of batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerastune_optuna._data.checks import makes_batches
from kerastune_optuna._data.datasets import is_tf_dataset
from kerastune_optuna._exceptions import ArgumentError


def has_rows(data: Any, model: keras.Model) -> bool:
    """Whether the elements of a tf.data.Dataset are single rows.

    Scalars, and parts of different lengths, come in no batch. Where all parts are arrays of one
    length, the inputs of the model decide; a model without known inputs is taken to get batches.
    """
    if not is_tf_dataset(data):
        return False
    shapes = _shapes(data.element_spec)
    if any(shape.rank == 0 for shape in shapes) or len({one[0] for one in shapes} - {None}) > 1:
        return True
    x, _, _ = keras.utils.unpack_x_y_sample_weight(data.element_spec)
    inputs = [tuple(one.shape) for one in getattr(model, "inputs", None) or ()]
    rows = _shapes(x)
    return len(rows) == len(inputs) > 0 and all(map(_is_row, rows, inputs))


def check_takes_size(size_name: str, name: str, data: Any) -> None:
    """Refuse a size of batches for data that comes in batches: Keras would ignore it in silence.

    Raises:
        ArgumentError: Says what to pass instead.
    """
    if not makes_batches(data):
        return
    instead = f"Leave {size_name} out"
    if is_tf_dataset(data):
        instead += (
            ", or leave out the dataset's batch(); where it has none, begin the model with a "
            "keras.Input, which tells rows from batches"
        )
    raise ArgumentError(
        f"{size_name} came with {name} of type {type(data).__name__}, which makes batches itself, "
        f"so that Keras would ignore it. {instead}."
    )


def _shapes(spec: Any) -> list[Any]:
    """Return TensorFlow's shapes of the parts of an element, but for those that are not known."""
    return [leaf.shape for leaf in keras.tree.flatten(spec) if leaf.shape.rank is not None]


def _is_row(shape: Any, wanted: Sequence[int | None]) -> bool:
    """Whether a shape is that of one row for an input that wants batches of the `wanted` shape."""
    # Keras adds a last dimension of 1 where an input has one more than the data.
    may_get_one = shape[0] is None and wanted[-1] == 1
    is_batch = may_get_one and shape.concatenate([1]).is_compatible_with(wanted)
    return bool(shape.is_compatible_with(wanted[1:])) and not is_batch
