"""What tells data from other data: a text of its kind, its shape, and a digest of its content."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastune_optuna._data import datasets
from kerastune_optuna._data.checks import (
    count_batches,
    is_loader,
    makes_batches,
    shape_of_a_batch,
    takes_trial,
)
from kerastune_optuna._data.digest import digest as digest_of
from kerastune_optuna._data.pick import pick
from kerastune_optuna._source import digest

_LARGEST = 1 << 22  # the most bytes that are read of an array, which takes a few milliseconds
_MOST_LEAVES = 16
_PLAIN = (str, bytes, int, float, bool, type(None))


def describe(data: Any) -> str:
    """Return a text that is the same for the same data, in any process.

    Of an array larger than 4 MB, rows at even distances are read. A tf.data.Dataset of that size,
    or a PyDataset, has no digest: its batches may be slow to make, and reading them moves a
    shuffle() on.
    """
    try:
        if takes_trial("data", data):
            return f"a function of the trial {digest_of(data)}"
        if datasets.is_tf_dataset(data):
            return _of_dataset(data)
        if makes_batches(data):
            batches = data.num_batches if isinstance(data, keras.utils.PyDataset) else len(data)
            return f"{type(data).__name__} of {batches} batches"
        leaves = keras.tree.flatten(data)
        more = [_of_others(leaves[_MOST_LEAVES:])] if len(leaves) > _MOST_LEAVES else []
        return ", ".join([*map(_of_leaf, leaves[:_MOST_LEAVES]), *more])
    except Exception:  # the user's data may raise anything, and the text only describes it
        return type(data).__name__


def measure(*data: Any, split: float | None = None) -> list[Any] | None:
    """Return what tells data from other data, whatever type holds it, in a form for JSON.

    For an array of numbers this is how many it has, and two sums that change only a little where
    its values change a little, as they do where the same data is computed again.

    Args:
        *data: What Model.fit takes.
        split: The share of the rows that Keras keeps for validation, if only these are measured.

    Returns:
        None where data cannot be read twice, as from generators, or differs each time, as after a
        shuffle().
    """
    if any(map(is_loader, data)):
        return None
    try:
        kept = data if split is None else _tail(data, split)
        return [_measured(leaf) for leaf in _arrays(kept)]
    except Exception:  # the user's data may raise anything; then it is compared with nothing
        return None


def _tail(data: tuple[Any, ...], split: float) -> Any:
    """Return the rows of arrays that Keras keeps for validation: the last ones."""

    def rows(leaf: Any) -> Any:
        return None if leaf is None else pick(leaf, slice(int(leaf.shape[0] * (1 - split)), None))

    return keras.tree.map_structure(rows, data)


def _arrays(data: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the arrays in data; all batches of a small pipeline without chance as one array."""
    for part in keras.tree.flatten(data):
        if datasets.is_tf_dataset(part):
            yield from _read(part)
        elif makes_batches(part):
            raise TypeError(f"a {type(part).__name__} is not read")
        elif part is not None:
            yield part


def _read(dataset: Any) -> Iterator[NDArray[Any]]:
    is_small = _is_small(dataset, keras.tree.flatten(dataset.element_spec))
    if not (is_small and datasets.is_fixed(datasets.parse(datasets.serialize(dataset)))):
        raise TypeError("this pipeline is not read")
    batches = (keras.tree.flatten(batch) for batch in dataset)
    for leaves in zip(*batches, strict=True):
        yield np.concatenate([keras.ops.convert_to_numpy(leaf).ravel() for leaf in leaves])


def _measured(leaf: Any) -> list[Any] | None:
    rows = _sample(leaf)
    size = int(math.prod(leaf.shape))
    if rows.dtype.kind not in "biuf":
        content = _content(rows)
        return None if content is None else [size, digest(content)]
    values = np.nan_to_num(rows.astype("float64").ravel())
    length = float(np.linalg.norm(values))
    weights = np.random.default_rng(0).standard_normal(values.size)
    return [size, length, float(weights @ values) / (length or 1.0)]


def _of_leaf(leaf: Any) -> str:
    if isinstance(leaf, _PLAIN):
        return repr(leaf)[:60]
    if not getattr(leaf, "shape", ()):
        return type(leaf).__name__
    rows = _sample(leaf)
    content = _content(rows)
    told = f"{rows.dtype}{_shape(leaf.shape)}"
    return told if content is None else f"{told} {digest(content)}"


def _of_others(leaves: list[Any]) -> str:
    told = f"{len(leaves)} more"
    plain = all(isinstance(leaf, _PLAIN) for leaf in leaves)
    return f"{told} {digest(repr(leaves).encode())}" if plain else told


def _sample(array: Any) -> NDArray[Any]:
    """Return rows at even distances, all of them where they are not too many."""
    row = 8 * math.prod(map(int, array.shape[1:]))
    size = getattr(array, "nbytes", int(array.shape[0]) * row)
    step = max(1, math.ceil(size / _LARGEST))
    rows = pick(array, slice(None, None, step))
    return np.asarray(rows if hasattr(rows, "iloc") else keras.ops.convert_to_numpy(rows))


def _content(rows: NDArray[Any]) -> bytes | None:
    """Return what is in an array; None for objects whose text may hold their addresses."""
    if not rows.dtype.hasobject:
        return rows.tobytes()
    values = rows.ravel().tolist()
    return repr(values).encode() if all(isinstance(one, _PLAIN) for one in values) else None


def _shape(shape: Any) -> str:
    return str(tuple(size if size is None else int(size) for size in shape))


def _of_dataset(dataset: Any) -> str:
    leaves = keras.tree.flatten(dataset.element_spec)
    specs = [f"{leaf.dtype.name}{_shape(leaf.shape)}" for leaf in leaves]
    told = f"tf.data of {int(dataset.cardinality())} x {', '.join(specs)}"
    if not _is_small(dataset, leaves):
        return told
    # The order and the names of the nodes of an optimised graph differ from process to process.
    parts = sorted(_parts(dataset))
    return f"{told} {digest(b''.join(parts))}"


def _is_small(dataset: Any, leaves: list[Any]) -> bool:
    batches, shape = count_batches(dataset, 0, 0.0), shape_of_a_batch(dataset, 0)
    if batches is None or shape is None:
        return False
    values = [datasets.count_values(leaf, shape[0], 1) for leaf in leaves]
    return batches * sum(values) * 8 <= _LARGEST


def _parts(dataset: Any) -> Iterator[bytes]:
    """Yield digests of what a pipeline is made of, and of its first batch where that is fixed."""
    definition = datasets.parse(datasets.serialize(dataset))
    shuffles = datasets.shuffles_of(definition)
    seeds = {one.name for node in shuffles for one in datasets.inputs_of(definition, node)[2:]}
    for node in datasets.nodes_of(definition):
        if node.name not in seeds:
            value = node.attr["value"].tensor.SerializeToString() if node.op == "Const" else b""
            yield hashlib.sha256(node.op.encode() + value).digest()
    if datasets.is_fixed(definition):
        for leaf in keras.tree.flatten(next(iter(dataset))):
            yield hashlib.sha256(keras.ops.convert_to_numpy(leaf).tobytes()).digest()
