"""The user's data: open it once per process, and check it before anything trains on it."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, KeysView, Mapping
from typing import Any

import keras
import numpy as np

from kerastune_optuna._backend import batch_size_of, undisturbed
from kerastune_optuna._check import count, why_not
from kerastune_optuna._data.pick import pick
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

_INFINITE, _UNKNOWN = -1, -2  # what tf.data.Dataset.cardinality() returns
# Classes from which Model.fit reads batches, by package and name, so that neither is imported.
_OF_GRAIN = {("grain", name) for name in ("DataLoader", "IterDataset", "MapDataset")}
_LOADERS = {("torch", "DataLoader"), *_OF_GRAIN}
_ENDLESS = 1 << 40  # rows or batches; an endless repeat() of Grain has a length of sys.maxsize
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


@dataclasses.dataclass(frozen=True)
class GeneratorFunction:
    """Wrap the user's function that returns a generator; each training calls it again."""

    function: Callable[[], Iterator[Any]]

    def __iter__(self) -> Iterator[Any]:
        yield from self.function()


@dataclasses.dataclass(frozen=True)
class Parcel:
    """Represent data in another process by a function that makes the data, and its arguments."""

    function: Callable[..., Any]
    contents: tuple[Any, ...]


def is_loader(source: Any) -> bool:
    """Whether the source is a function that loads the data."""
    return callable(source) and not hasattr(source, "__len__")


def takes_trial(name: str, source: Any) -> bool:
    """Whether a function makes the data from the parameters of a trial.

    Raises:
        ArgumentTypeError: The function takes other arguments.
    """
    if not is_loader(source) or why_not(source, 0) is None:
        return False
    if why_not(source, 1) is None:
        return True
    raise ArgumentTypeError(
        f"{name} is a function that takes {inspect.signature(source)}, but is called with the "
        "trial alone. Pass a function of the trial or one without arguments; functools.partial "
        "can bind the others."
    )


def open_data(name: str, source: Any) -> Any:
    """Return the data; if the source is a function or a parcel, call or open it.

    A function of the trial is returned unchanged, since each trial calls it.
    """
    if takes_trial(name, source):
        return source
    if is_loader(source):
        loaded = source()
        return GeneratorFunction(source) if isinstance(loaded, Iterator) else loaded
    return open_parcel(source)


def open_parcel(source: Any) -> Any:
    """Return the data of a parcel; return anything else unchanged."""
    return source.function(*source.contents) if isinstance(source, Parcel) else source


def begun(data: Any) -> Any:
    """Return the data for one training; for a GeneratorFunction, a new generator."""
    return iter(data) if isinstance(data, GeneratorFunction) else data


def check_training_data(x: Any, y: Any, others: Mapping[str, Any]) -> None:
    """Reject training data on which no epoch could run.

    Args:
        x: The data.
        y: Its targets, unless it contains them.
        others: The other arguments of Model.fit.

    Raises:
        ArgumentError: The data is missing, empty, endless, uneven, or can be read only once.
    """
    if x is None:
        raise ArgumentTypeError(
            "x=None is no training data. Pass data that Model.fit takes, or a function "
            "that returns it, without arguments or of the trial."
        )
    _check_one("x", x, others.get("steps_per_epoch"), "steps_per_epoch")
    _check_parts(x, y, others)


def _check_parts(x: Any, y: Any, others: Mapping[str, Any]) -> None:
    """Reject targets or weights that do not belong to the inputs."""
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
    is_unweighted = isinstance(x, GeneratorFunction) or not _classes(x).isdisjoint(_LOADERS)
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
    if (size := _size(x)) in (0, _INFINITE):
        kind = "endless" if size else "empty"
        raise ArgumentError(f"x is {kind}. Pass data with one row or more, and with an end.")
    _check_parts(x, y, {"sample_weight": weights})


def check_validation_data(
    validation_data: Any, validation_split: float, validation_steps: int | None, x: Any
) -> None:
    """Reject validation data that cannot be evaluated."""
    _check_split(validation_split, x)
    if validation_data is None:
        return
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
    _check_one("validation_data", x, validation_steps, "validation_steps")
    for place, other in enumerate(others, start=1):
        _check_even("validation_data[0]", x, f"[{place}]", other)


def _check_split(split: object, x: Any) -> None:
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


def _check_one(name: str, data: Any, steps: int | None, steps_name: str) -> None:
    """Reject one source of batches that has none, is endless, or can be read only once."""
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
    if instead := next((_BARE[one] for one in _classes(data) if one in _BARE), None):
        raise ArgumentTypeError(
            f"{name} is a {type(data).__name__}, which Model.fit does not take. {instead}"
        )
    size = _size(data)
    batch = _first(data) if size != 0 and _is_of_grain(data) else ()
    if size == 0 or batch is None:
        use = "validate" if name.startswith("validation") else "train"
        raise ArgumentError(f"{name} is empty: there is nothing to {use} on. Pass one row or more.")
    if size == _INFINITE and steps is None:
        raise ArgumentError(
            f"{name} is endless (repeat()), so an epoch would never end. Pass {steps_name}=, or "
            "a dataset without repeat()."
        )
    if not _are_batches(batch):
        raise ArgumentError(
            f"{name} gives single rows, but Model.fit takes batches. Call batch(32) of the "
            "dataset, or give the DataLoader operations=[grain.transforms.Batch(32)]."
        )


def _size(data: Any) -> int | None:
    """Return the number of rows or batches; -1 if it is endless, -2 or None if it is unknown."""
    if hasattr(data, "cardinality"):
        size = _cardinality(data)
        is_empty = size == _UNKNOWN and next(iter(data), None) is None
        return 0 if is_empty else size
    rows = count_rows(_source_of_grain(data) if _is_of_grain(data) else data)
    return _INFINITE if rows is not None and rows >= _ENDLESS else rows


def _is_of_grain(data: Any) -> bool:
    return not _classes(data).isdisjoint(_OF_GRAIN)


def _source_of_grain(data: Any) -> Any:
    """Return the part of a pipeline of Grain that has a length; its end may have none."""
    data = getattr(data, "_sampler", data)  # of a DataLoader; Keras reads it, too
    while not hasattr(data, "__len__") and _passes_all_on(data):
        (data,) = data.parents
    return data


def _passes_all_on(data: Any) -> bool:
    """Whether a step of a pipeline is endless if its source is; the user's own may not be."""
    kind = type(data)
    is_known = kind.__module__.startswith("grain.") and kind.__name__ != "LimitIterDataset"
    return is_known and len(getattr(data, "parents", ())) == 1


def _first(data: Any) -> Any:
    """Return the first batch of Grain's data, which begins anew each time; None if it is empty."""
    with undisturbed():
        return next(iter(data), None)


def _are_batches(batch: Any) -> bool:
    """Whether all parts have the same number of rows, unlike most parts of a single row."""
    shapes = {tuple(np.shape(leaf))[:1] for leaf in keras.tree.flatten(batch) if leaf is not None}
    return () not in shapes and len(shapes) < 2


def _cardinality(dataset: Any) -> int:
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
        return _INFINITE if batches is None else int(batches)
    try:
        return len(data)
    except TypeError:  # a DataLoader over an IterableDataset has a __len__ that raises
        return None


def may_end(data: Any) -> bool:
    """Whether a tf.data.Dataset does not tell whether it ends, and when."""
    return hasattr(data, "cardinality") and _cardinality(data) == _UNKNOWN


def count_batches(data: Any, batch_size: int, validation_split: float) -> int | None:
    """Return how many batches arrays or a tf.data.Dataset have for training; None if unknown."""
    if hasattr(data, "cardinality"):
        size = _cardinality(data)
        return size if size > 0 else None
    rows = None if makes_batches(data) else count_rows(data)
    # Keras gives the first floor(rows * (1 - split)) rows to training.
    return None if rows is None else math.ceil(int(rows * (1 - validation_split)) / batch_size)


def shape_of_a_batch(data: Any, batch_size: int) -> tuple[int, ...] | None:
    """Return the shape of a batch of the first input, with guesses for unknown sizes."""
    if hasattr(data, "element_spec"):
        spec = data.element_spec
        first = keras.tree.flatten(spec[0] if isinstance(spec, tuple) else spec)[0]
        if not getattr(first, "shape", None) or not first.shape.rank:
            return None  # several replicas, an unknown rank, or scalars without a batch()
        rows, *row = first.shape.as_list()
        return (rows or batch_size_of(data) or 128, *(size or 1 for size in row))
    leaves = [] if makes_batches(data) else keras.tree.flatten(data)
    shape = getattr(leaves[0], "shape", ()) if leaves else ()
    return (batch_size, *(int(size or 1) for size in shape[1:])) if shape else None


def a_batch(x: Any, y: Any = None, batch_size: int = 1) -> Any:
    """Return the first batch as a training step gets it."""
    if not makes_batches(x):
        rows = np.arange(min(batch_size, count_rows(x) or 0))
        return pick(keras.utils.pack_x_y_sample_weight(x, y), rows)
    return x[0] if isinstance(x, keras.utils.PyDataset) else next(iter(x))


def makes_batches(data: Any) -> bool:
    """Whether the data yields batches that contain the targets, unlike arrays."""
    is_ours = isinstance(data, keras.utils.PyDataset | GeneratorFunction)
    return hasattr(data, "element_spec") or is_ours or not _classes(data).isdisjoint(_LOADERS)


def _classes(data: Any) -> KeysView[tuple[str, str]]:
    """Return the package and the name of the data's class and of those that it inherits from."""
    names = ((one.__module__.partition(".")[0], one.__name__) for one in type(data).__mro__)
    return dict.fromkeys(names).keys()  # in their order


def parts_of(data: Any) -> tuple[Any, Any, Any]:
    """Return x, y and weights in data, or their specs; None for what is missing or unknown."""
    if hasattr(data, "element_spec"):
        data = data.element_spec
    elif makes_batches(data):  # reading a batch may change what comes next
        data = None
    return keras.utils.unpack_x_y_sample_weight(data)  # type: ignore[no-any-return] # as above


def lacks_targets(x: Any, y: Any) -> bool:
    """Whether there are certainly no targets: y is None, and x contains only inputs."""
    if y is not None:
        return False
    if makes_batches(x):
        return hasattr(x, "element_spec") and parts_of(x)[1] is None
    return all(getattr(leaf, "shape", ()) for leaf in keras.tree.flatten(x))


def _check_even(
    name: str, one: Any, other_name: str, other: Any, others_are: str = "targets"
) -> None:
    rows, others = count_rows(one), count_rows(other)
    if rows is not None and others is not None and rows != others:
        raise ArgumentError(
            f"{name} has {count(rows, 'row')} and {other_name} has {others}. Pass as many "
            f"{others_are} as inputs."
        )
