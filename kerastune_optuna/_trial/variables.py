"""The variables of a model: find and create missing ones, compare them, and keep their values."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import keras
import numpy as np
from numpy.typing import NDArray

from kerastune_optuna import _check
from kerastune_optuna._backend import layers_within, optimizer_of, strategy_of
from kerastune_optuna._data import from_plain
from kerastune_optuna._digest import digest
from kerastune_optuna._exceptions import BuilderError, WeightsError

_T = TypeVar("_T")
State: TypeAlias = Sequence[NDArray[Any]]  # the weights, followed by the states of generators

# A model that overrides these methods may train whatever it holds.
OWN_STEPS = ("compute_loss", "compute_metrics", "test_step", "train_step")
# If a model overrides these methods, only running them shows which variables they create.
OWN_LOOPS = ("evaluate", "make_test_function", "make_train_function")


def has_own(model: keras.Model, *methods: str) -> bool:
    """Whether a model's class overrides at least one of these methods of keras.Model."""
    return any(getattr(type(model), name) is not getattr(keras.Model, name) for name in methods)


def lacks_variables(model: keras.Model) -> bool:
    """Whether a model or one of its layers is not built yet, whatever `model.built` says."""
    # A model whose own steps call its parts is never marked as built, but may lack nothing.
    is_built = model.built or not has_own(model, "build")
    if not (is_built and model.weights):  # without any weights, it may create its layers later
        return True
    # Keras checks each layer before it builds a model. A training calls the layers in the graph of
    # a functional model. KerasHub's tasks also have an attribute `preprocessor`, which their fit()
    # calls on strings, and which is never built.
    called = layers_within(model)
    if not has_own(model, *OWN_STEPS):
        called = [one for layer in model.layers for one in (layer, *layers_within(layer))]
    return not all(layer.built for layer in called)


def make_variables(model: keras.Model, batch: Any) -> None:
    """Create the missing variables as a training on such batches would, without running anything.

    Args:
        model: The compiled model.
        batch: A symbolic batch, as the model's steps get it.

    Raises:
        Exception: Any error that the user's layers raise.
    """
    with scope_of(model):
        if has_own(model, "call"):  # a model whose own steps call its parts may have no call()
            model(keras.utils.unpack_x_y_sample_weight(batch)[0])
        if lacks_variables(model) and keras.backend.backend() == "tensorflow":
            traced(model, model.train_step, batch)
    # Keras leaves this False if the model's own steps call its layers and never the model.
    model.built = True


def traced(model: keras.Model, step: Callable[[Any], Any], batch: Any) -> Any:
    """Trace a step with TensorFlow, which creates variables; return its symbolic result."""
    import tensorflow as tf  # imported here, since other backends do not need it

    def run(data: Any) -> Any:
        return model.distribute_strategy.run(step, args=(data,))

    specs = keras.tree.map_structure(
        lambda one: None if one is None else tf.TensorSpec(one.shape, one.dtype), batch
    )
    return tf.function(run).get_concrete_function(specs).structured_outputs


def make_again(model: keras.Model, remembered: Mapping[str, Any]) -> None:
    """Create the variables of a model that was returned unbuilt, so that weights can be loaded.

    Args:
        model: The compiled model.
        remembered: The config of its build as "shapes", and a batch as plain values as "batch".
    """
    if not model.built and remembered["shapes"]:
        # With TensorFlow, variables belong to the strategy in whose scope the model was created.
        with scope_of(model), warnings.catch_warnings(action="ignore"):
            model.build_from_config(remembered["shapes"])
        # For a subclassed model, Keras builds the layers there but does not mark the model built.
        model.built = True
    if lacks_variables(model):
        make_variables(model, from_plain(remembered["batch"]))


def checksum(model: keras.Model) -> str:
    """Return a checksum of the weights of a model, including their dtypes and shapes."""
    parts = (f"{one.dtype}{tuple(one.shape)}{checksum_of(one)}" for one in model.weights)
    return digest(*parts)


def checksum_of(variable: keras.Variable) -> int:
    """Return a 32-bit checksum of the value of a variable."""
    return zlib.crc32(np.ascontiguousarray(variable.numpy()).reshape(-1).view("uint8").data)


def unbuildable(model: keras.Model) -> BuilderError:
    """Return the error for a model whose weights could be saved but not loaded again."""
    return BuilderError(
        f"build_model returned the model {model.name!r} without its variables, and the shapes of "
        "the data do not suffice to create them: saved weights could not be loaded again. Call the "
        "model, or each of its parts, once on data in build_model, as in model(x[:1])."
    )


def optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Return all optimizers of a model: the compiled one, and those that its own steps use."""
    kind = keras.optimizers.Optimizer
    found = (one for part in (model, *layers_within(model)) for one in _within(vars(part), kind))
    return list({id(one): one for one in found}.values())


def check_untracked(model: keras.Model, rebuilt: keras.Model) -> None:
    """Reject a layer's TensorFlow variables if a rebuilt model has other values in them.

    Keras saves only variables of its own. A constant is made again by the builder. An integer may
    be a count of steps, which changes no output, so it only leads to a warning.

    Raises:
        WeightsError: Such a variable has another value than in the trained model.
    """
    for (name, value), (_, again) in zip(_untracked(model), _untracked(rebuilt), strict=False):
        if np.array_equal(value, again, equal_nan=value.dtype.kind in "fc"):
            continue
        text = (
            f"A tf.Variable of layer {name!r} is not in a rebuilt model as it was after training: "
            "the training changed it, or build_model draws it by chance, and Keras does not save "
            "it. Make it by self.add_weight(trainable=False) or as a keras.Variable."
        )
        if value.ndim or not np.issubdtype(value.dtype, np.integer):
            raise WeightsError(text)
        _check.warn(text)


def _untracked(model: keras.Model) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the values of variables that only TensorFlow knows, with the name of their layer."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    for part in (model, *layers_within(model)):
        modules = _within(vars(part), tf.Module)  # whose variables TensorFlow finds itself
        own, inner = _within(vars(part), tf.Variable), (one.variables for one in modules)
        for variable in chain(own, *inner):
            yield part.name, variable.numpy()


def build_optimizer(model: keras.Model) -> None:
    """Create the variables of the optimizer that a model was compiled with, as a training does."""
    optimizer = optimizer_of(model)
    if optimizer is not None and not optimizer.built:
        with scope_of(model):
            optimizer.build(model.trainable_variables)


def _within(held: Any, kind: type[_T]) -> Iterator[_T]:
    """Yield the objects of a kind in an attribute of a model, also from nested lists and dicts."""
    # keras.tree cannot flatten these attributes: TensorFlow adds a dict with unsortable keys.
    if isinstance(held, kind):
        yield held
    elif isinstance(held, dict | list | tuple):
        for part in held.values() if isinstance(held, dict) else held:
            yield from _within(part, kind)


def scope_of(model: keras.Model) -> AbstractContextManager[Any]:
    """Return the scope of a model's strategy, to which its variables belong."""
    strategy = strategy_of(model)
    return nullcontext() if strategy is None else strategy.scope()


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model's state, in the order of the state."""
    return [*model.weights, *generators_of(model)]


def generators_of(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model that are not weights: the states of its generators."""
    weights = set(map(id, model.weights))
    return [variable for variable in model.variables if id(variable) not in weights]


def give_back(model: keras.Model, state: State) -> None:
    """Set a model to an earlier state; a state without generators leaves generators as they are.

    Raises:
        ValueError: The state is that of another model.
    """
    n = len(model.weights)
    model.set_weights(list(state[:n]))
    if drawn := state[n:]:
        for variable, value in zip(generators_of(model), drawn, strict=True):
            variable.assign(value)


def write_arrays(path: Path, parts: Mapping[str, Iterable[keras.Variable | NDArray[Any]]]) -> None:
    """Write arrays or the values of variables to a .npz file, one at a time, which saves memory."""
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            for number, array in enumerate(part):
                with file.open(f"{name}/{number}.npy", "w", force_zip64=True) as place:
                    np.lib.format.write_array(place, as_array(array), allow_pickle=False)


def read_arrays(path: Path, part: str) -> State:
    """Return the arrays of one part of a file that `write_arrays` wrote."""
    with np.load(path) as file:
        return [file[name] for name in file.files if name.startswith(f"{part}/")]


def as_array(value: keras.Variable | NDArray[Any]) -> NDArray[Any]:
    """Return a value as an array that NumPy and HDF5 files can store."""
    array: NDArray[Any] = keras.ops.convert_to_numpy(value)
    # NumPy's files cannot store bfloat16 (kind "V"), but float32 can represent all its values.
    return array.astype("float32") if array.dtype.kind == "V" else array
