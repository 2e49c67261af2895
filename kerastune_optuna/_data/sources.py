"""The user's data: what it is, and how functions and parcels become data, once per process."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, KeysView
from functools import partial
from typing import Any

import keras
from optuna.trial import BaseTrial

from kerastune_optuna._check import why_not
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError

# Classes from which Model.fit reads batches, by package and name, so that neither is imported.
OF_GRAIN = frozenset(("grain", name) for name in ("DataLoader", "IterDataset", "MapDataset"))
LOADERS = OF_GRAIN | {("torch", "DataLoader")}


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


def open_parcel(source: Any) -> Any:
    """Return the data of a parcel; return anything else unchanged."""
    return source.function(*source.contents) if isinstance(source, Parcel) else source


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
    return keras.utils.unpack_x_y_sample_weight(data)  # type: ignore[no-any-return] # as above


def lacks_targets(x: Any, y: Any) -> bool:
    """Whether there are certainly no targets: y is None, and x contains only inputs."""
    if y is not None:
        return False
    if makes_batches(x):
        return hasattr(x, "element_spec") and parts_of(x)[1] is None
    return all(getattr(leaf, "shape", ()) for leaf in keras.tree.flatten(x))
