"""The user's data: how functions load it, what it is, how large it is, and rows of it."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, KeysView, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from optuna.trial import BaseTrial

from kerastune_optuna._backend import batch_size_of
from kerastune_optuna._check import why_not
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

# Classes from which Model.fit reads batches, by package and name, so that neither is imported.
OF_GRAIN = frozenset(("grain", name) for name in ("DataLoader", "IterDataset", "MapDataset"))
LOADERS = OF_GRAIN | {("torch", "DataLoader")}
INFINITE = -1  # the size of endless data
UNKNOWN = -2  # the cardinality of a tf.data.Dataset that does not tell whether it ends, and when
_ENDLESS = 1 << 40  # rows or batches; an endless repeat() of Grain has a length of sys.maxsize
_NEST, _LEAF = "nest", "leaf"  # the first items of lists in the JSON-serializable form of a batch


@dataclasses.dataclass(frozen=True)
class GeneratorFunction:
    """Wrap the user's function that returns a generator; each training calls it again."""

    function: Callable[[], Iterator[Any]]

    def __iter__(self) -> Iterator[Any]:
        yield from self.function()


def is_loader(source: Any) -> bool:
    """Whether the source is a function that loads the data."""
    return callable(source) and not hasattr(source, "__len__")


def takes_trial(name: str, source: Any) -> bool:
    """Whether a function that loads the data makes it from the parameters of a trial.

    Raises:
        ArgumentTypeError: The function takes other arguments.
    """
    if why_not(source, 0) is None:
        return False
    if why_not(source, 1) is None:
        return True
    raise ArgumentTypeError(
        f"{name} is a function that takes {inspect.signature(source)}, but is called with the "
        "trial alone. Pass a function of the trial or one without arguments; functools.partial "
        "can bind the others."
    )


def load(name: str, source: Callable[..., Any], trial: BaseTrial | None = None) -> Any:
    """Return the data that a function loads.

    Without a trial, a function of the trial is returned unchanged.

    Raises:
        ArgumentError: A function of the trial returned no data.
    """
    if not takes_trial(name, source):
        loaded = source()
    elif trial is None:
        return source
    else:
        source = partial(source, trial)
        if (loaded := source()) is None:
            raise ArgumentError(
                f"The function that was passed as {name} returned None (is its `return` missing?). "
                "Return data that Model.fit takes."
            )
        if is_loader(loaded):
            raise ArgumentTypeError(
                f"The function that was passed as {name} returned a function. Return the data."
            )
    return GeneratorFunction(source) if isinstance(loaded, Iterator) else loaded


def unpack_x(data: dict[str, Any], others: dict[str, Any], *, is_of_trial: bool) -> None:
    """Give y and sample_weight their parts of the tuple that the function passed as x returned.

    Args:
        data: The data by its name.
        others: The other arguments of Model.fit.
        is_of_trial: Whether it is a function of the trial; of others, a tuple may be inputs alone.

    Raises:
        ArgumentError: The tuple has other parts, or y or sample_weight was passed too.
    """
    loaded = data["x"]
    if data["y"] is not None or len(loaded) not in (2, 3):
        if not is_of_trial:
            return
        beside = ", but y was passed too" if data["y"] is not None else ""
        raise ArgumentError(
            f"The function that was passed as x returned a tuple of {len(loaded)}{beside}. Return "
            "(x, y) or (x, y, sample_weight), and pass no y; return several inputs as a list."
        )
    data["x"], data["y"], weights = keras.utils.unpack_x_y_sample_weight(loaded)
    if weights is None:
        return
    if others.get("sample_weight") is not None:
        raise ArgumentError(
            "The function that was passed as x returned weights, but sample_weight was passed "
            "too. Return (x, y), or leave sample_weight out."
        )
    others["sample_weight"] = weights


def classes(data: Any) -> KeysView[tuple[str, str]]:
    """Return the package and the name of the data's class and of those that it inherits from."""
    names = ((one.__module__.partition(".")[0], one.__name__) for one in type(data).__mro__)
    return dict.fromkeys(names).keys()  # in their order


def makes_batches(data: Any) -> bool:
    """Whether the data yields batches that contain the targets, unlike arrays."""
    is_ours = isinstance(data, keras.utils.PyDataset | GeneratorFunction)
    return hasattr(data, "element_spec") or is_ours or not classes(data).isdisjoint(LOADERS)


def is_tf_dataset(data: Any) -> bool:
    """Whether the data is a tf.data.Dataset."""
    return any(kind.__name__ == "DatasetV2" for kind in type(data).__mro__)


def parts_of(data: Any) -> tuple[Any, Any, Any]:
    """Return x, y and weights in data, or their specs; None for what is missing or unknown."""
    if hasattr(data, "element_spec"):
        data = data.element_spec
    elif makes_batches(data):  # reading a batch may change what comes next
        data = None
    return keras.utils.unpack_x_y_sample_weight(data)  # type: ignore[no-any-return] # Keras has no types


def lacks_targets(x: Any, y: Any) -> bool:
    """Whether there are certainly no targets: y is None, and x contains only inputs."""
    if y is not None:
        return False
    if makes_batches(x):
        return hasattr(x, "element_spec") and parts_of(x)[1] is None
    return all(getattr(leaf, "shape", ()) for leaf in keras.tree.flatten(x))


def size_of(data: Any) -> int | None:
    """Return the number of rows or batches; INFINITE if the data is endless, None if unknown."""
    if hasattr(data, "cardinality"):
        if (size := cardinality(data)) != UNKNOWN:
            return size
        return 0 if next(iter(data), None) is None else None
    is_of_grain = not classes(data).isdisjoint(OF_GRAIN)
    rows = count_rows(_source_of_grain(data) if is_of_grain else data)
    return INFINITE if rows is not None and rows >= _ENDLESS else rows


def _source_of_grain(data: Any) -> Any:
    """Return the part of a pipeline of Grain that has a length; its end may have none."""
    data = getattr(data, "_sampler", data)  # of a DataLoader; Keras reads it, too
    while not hasattr(data, "__len__") and len(getattr(data, "parents", ())) == 1:
        kind = type(data)
        # Other steps are endless if their source is, but the user's own may not be.
        if not kind.__module__.startswith("grain.") or kind.__name__ == "LimitIterDataset":
            break
        (data,) = data.parents
    return data


def cardinality(dataset: Any) -> int:
    """Return the number of batches of a tf.data.Dataset; a negative number if it is unknown."""
    size = dataset.cardinality  # a method, but a plain value if tf.distribute created the dataset
    return int(size() if callable(size) else size)


def count_rows(data: Any) -> int | None:
    """Return the number of rows of (nested) arrays, or of batches of a PyDataset or DataLoader."""
    if isinstance(data, Mapping | list | tuple):
        leaves = keras.tree.flatten(data)
        data = leaves[0] if leaves else ()
    if getattr(data, "shape", ()):
        return int(data.shape[0])
    if isinstance(data, str | bytes):  # an item of a list of strings; its length is not a row count
        return None
    if isinstance(data, keras.utils.PyDataset):
        batches = data.num_batches
        return INFINITE if batches is None else int(batches)
    try:
        return len(data)
    except TypeError:  # a DataLoader over an IterableDataset has a __len__ that raises
        return None


def bytes_of(dataset: Any, unknown: float) -> float:
    """Return the bytes of a tf.data.Dataset's rows, with `unknown` for each unknown size."""
    if (batches := cardinality(dataset)) < 0:
        return math.inf
    rows, taken = batch_size_of(dataset) or unknown, 0.0
    for spec in keras.tree.flatten(dataset.element_spec):
        sizes = [unknown] if spec.shape.rank is None else [*spec.shape]
        first = [rows if size is None else size for size in sizes[:1]]
        others = [unknown if size is None else size for size in sizes[1:]]
        taken += math.prod(first + others) * (spec.dtype.size or unknown)
    return batches * taken


def pick(data: Any, rows: NDArray[Any] | slice) -> Any:
    """Return the given rows of arrays, which may be nested."""
    if keras.tree.is_nested(data):
        return keras.tree.map_structure(lambda leaf: pick(leaf, rows), data)
    if data is None:
        return None
    if hasattr(data, "iloc"):  # pandas, where [] picks columns
        return data.iloc[rows]
    if hasattr(data, "tocsr"):  # SciPy, where some sparse arrays do not support []
        return data.tocsr()[rows]
    is_of_tensorflow = type(data).__module__.startswith("tensorflow.")
    if is_of_tensorflow and not isinstance(rows, slice):  # [] does not take a list there
        import tensorflow as tf  # installed, since the data is TensorFlow's

        return tf.gather(data, rows)
    return data[rows]


def a_batch(x: Any, y: Any) -> Any:
    """Return the first batch as a training step gets it; of arrays, one row."""
    if not makes_batches(x):
        rows = np.arange(min(1, count_rows(x) or 0))
        return pick(keras.utils.pack_x_y_sample_weight(x, y), rows)
    return x[0] if isinstance(x, keras.utils.PyDataset) else next(iter(x))


def symbolic(leaf: Any) -> keras.KerasTensor | None:
    """Return a symbolic batch of an array, as Keras's adapters would make it, or of a TensorSpec.

    Returns:
        None for what is neither an array of numbers, nor describes a tensor of known rank.
    """
    if not isinstance(leaf, np.ndarray):
        if type(leaf).__name__ != "TensorSpec" or not leaf.shape.rank:
            return None
        return keras.KerasTensor(leaf.shape.as_list(), leaf.dtype.name)
    if leaf.ndim == 0 or leaf.dtype.kind not in "biuf":
        return None
    is_float = np.issubdtype(leaf.dtype, np.floating)
    dtype = keras.config.floatx() if is_float else keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype)


def symbolic_read(leaf: Any) -> keras.KerasTensor | None:
    """Return a symbolic batch for a part of a batch that was read, or for any spec of TensorFlow.

    Raises:
        Exception: Any error from Keras if the shape is unknown.
    """
    if leaf is None:
        return None
    if not hasattr(leaf, "dtype"):  # such as a DataFrame or a number
        leaf = np.asarray(leaf)
    is_text = getattr(leaf.dtype, "kind", "") in "OSU" and isinstance(leaf.dtype, np.dtype)
    dtype = "string" if is_text else keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype)


def to_plain(batch: Any) -> Any:
    """Return a symbolic batch as JSON-serializable values."""
    if batch is None:
        return None
    if isinstance(batch, Mapping):
        return {str(name): to_plain(part) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        return [_NEST, *map(to_plain, batch)]
    return [_LEAF, list(batch.shape), batch.dtype]


def from_plain(plain: Any) -> Any:
    """Return the symbolic batch from its plain form, with tuples for sequences, as in tf.data."""
    if plain is None:
        return None
    if isinstance(plain, Mapping):
        return {name: from_plain(part) for name, part in plain.items()}
    kind, *parts = plain
    return keras.KerasTensor(*parts) if kind == _LEAF else tuple(map(from_plain, parts))
