"""Seeds, memory, settings and devices for each backend of Keras, and Keras's private API.

Code that only one backend needs first checks `keras.backend.backend()`.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import psutil
from keras.src.backend.common import global_state
from keras.src.models.functional import Functional
from keras.src.trainers.data_adapters import (
    array_data_adapter,
    array_slicing,
    get_data_adapter,
)

from kerastune_optuna._exceptions import WorkerError

_SHARE = 0.01  # the share of a search's time that garbage collection may take
_MOST_GROWN = 256e6  # bytes by which a process may grow before we clear JAX's compiled functions
_log = logging.getLogger("kerastune_optuna")
# Without these, the first process on a GPU takes most of its memory. PyTorch takes what it needs.
_GROWING = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_SEEDS = ("global_random_seed", "global_seed_generator")  # as Keras names them

are_arrays = array_data_adapter.can_convert_arrays  # whether Keras batches a tuple of data itself
# Returns the arrays that Model.fit trains on, and those that `validation_split=` holds out.
split_as_fit = array_slicing.train_validation_split

_is_late_fork = False  # whether this process was forked after TensorFlow had begun to work


def check_threads() -> None:
    """Refuse to train in a forked process, which lacks the threads of TensorFlow.

    Raises:
        WorkerError: Says how to start a process that can train.
    """
    if _is_late_fork:
        raise WorkerError(
            "This process was forked after TensorFlow had begun to work in its parent, so it lacks "
            "TensorFlow's threads, and training would wait for them forever. Start it by "
            'multiprocessing.get_context("spawn"), or before the parent makes any model or tensor.'
        )


def _look_for_tensorflow() -> None:
    """Note in a forked child whether TensorFlow had begun to work before the fork."""
    global _is_late_fork
    if (eager := sys.modules.get("tensorflow.python.eager.context")) is not None:
        context = eager.context_safe()  # does not create a context
        _is_late_fork = context is not None and context._initialized


if hasattr(os, "register_at_fork"):  # Windows forks no processes
    os.register_at_fork(after_in_child=_look_for_tensorflow)


def set_all(seed: int) -> None:
    """Seed the generators of Python, NumPy, Keras and PyTorch."""
    keras.utils.set_random_seed(int(seed))  # Keras refuses NumPy's integers
    # Keras seeds PyTorch only with that backend, but all backends train on its DataLoaders.
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


@contextmanager
def seeds_kept() -> Iterator[None]:
    """Restore, after a block, what keras.utils.set_random_seed() seeds.

    The seed of `tf.random` is not restored: TensorFlow has no public function that tells it.
    """
    attributes = {name: global_state.get_global_attribute(name) for name in _SEEDS}
    own = attributes["global_seed_generator"]
    drawn = None if own is None else keras.ops.convert_to_numpy(own.state)
    others = generators()
    try:
        yield
    finally:
        set_generators(others)
        for name, value in attributes.items():
            global_state.set_global_attribute(name, value)
        if own is not None:
            own.state.assign(drawn)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the generators after data was read: each pass over a DataLoader draws from them."""
    state = generators()
    try:
        yield
    finally:
        set_generators(state)


def generators() -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy and PyTorch, as JSON can hold them.

    With JAX and PyTorch, Keras shuffles the rows of arrays with these generators.
    """
    kind, keys, *rest = np.random.get_state()
    torch = sys.modules.get("torch")
    return {
        "python": random.getstate(),
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "torch": None if torch is None else torch.get_rng_state().tolist(),
    }


def set_generators(state: Mapping[str, Any]) -> None:
    """Set the generators to states that `generators` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))
    if (torch := sys.modules.get("torch")) is not None and state["torch"] is not None:
        torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))


def keras_settings() -> tuple[str, str, str, str]:
    """Return the settings of Keras that a user may have changed, for a worker to apply."""
    of = keras.config
    return keras.backend.backend(), of.floatx(), of.image_data_format(), of.dtype_policy().name


def apply_settings(settings: tuple[str, str, str, str]) -> None:
    """Apply to Keras the settings of the process that began the search.

    Raises:
        WorkerError: Keras has another backend in this process, which cannot change its backend.
    """
    backend, floatx, data_format, policy = settings
    if (own := keras.backend.backend()) != backend:
        raise WorkerError(
            f"The search trains with Keras's backend {backend!r}, and this worker has {own!r}. "
            f"Start the workers of the executor with KERAS_BACKEND={backend}."
        )
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(data_format)
    keras.config.set_dtype_policy(policy)


def let_memory_grow() -> None:
    """Let TensorFlow and JAX take memory of GPUs only as they need it, if they have taken none yet.

    Both read these variables when they first use a GPU. Workers inherit them.
    """
    for name, value in _GROWING.items():
        os.environ.setdefault(name, value)


def accelerators() -> list[str]:
    """Return the names of the GPUs that the backend sees."""
    backend = keras.backend.backend()
    framework: Any = sys.modules[backend]  # Keras has imported it
    if backend == "tensorflow":
        details = framework.config.experimental.get_device_details
        gpus = framework.config.list_physical_devices("GPU")
        return [str(details(gpu).get("device_name", "a GPU")) for gpu in gpus]
    if backend == "torch":
        cuda = framework.cuda
        return [str(cuda.get_device_name(number)) for number in range(cuda.device_count())]
    # JAX, whose devices Keras itself can list.
    return [device for device in keras.distribution.list_devices() if not device.startswith("cpu")]


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Memory:
    """Release what the trials of one search leave behind.

    TensorFlow registers the gradient of each traced train step in a registry of the process, under
    a name "CustomGradient-<n>", and never removes it: the entry keeps all graphs of the trial alive
    for as long as the process lives (TensorFlow #97697). Only the graphs of that trial use the
    entry, so we remove the names that a trial added when the trial ends. This leaves reference
    cycles, which Python's garbage collector finds.

    JAX keeps a compiled function for each shape that it has seen, some 8 MB for a small model.
    Clearing them after each trial would double the time of short trials, so we clear them once the
    process has grown large.

    Args:
        share: How long garbage collection may take, as a share of the time between collections.
    """

    def __init__(self, share: float = _SHARE) -> None:
        self._share = share
        self._registry = _gradients()
        self._next_collection = 0.0
        self._least = _bytes()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let the garbage collector examine only objects of trials, not those that exist before."""
        if gc.get_freeze_count():  # the user froze some objects, and unfreeze() would undo that
            yield
            return
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()

    @contextmanager
    def released(self, *, collects: bool = True) -> Iterator[None]:
        """Release what the trial in a block leaves behind; reference cycles only if `collects`."""
        before, unmade = set(self._registry), _unmade_variables()
        try:
            yield
        finally:
            _unmade_variables(set_to=unmade)
            for name in set(self._registry) - before:
                if name.startswith("CustomGradient-"):
                    del self._registry[name]
            # Collecting garbage is not to exceed its share of the time.
            if collects and (began := time.perf_counter()) >= self._next_collection:
                gc.collect()
                ended = time.perf_counter()
                self._next_collection = ended + (ended - began) / self._share
            if keras.backend.backend() == "jax" and _bytes() - self._least >= _MOST_GROWN:
                import jax  # users of other backends may not have it installed

                jax.clear_caches()
                self._least = _bytes()

    def make_room(self) -> None:
        """Collect garbage after this trial in any case, because it ran out of memory."""
        self._next_collection = 0.0


def _bytes() -> int:
    """Return how many bytes of memory this process uses."""
    return int(psutil.Process().memory_info().rss)


def _unmade_variables(set_to: list[Any] | None = None) -> list[Any]:
    """Return the variables that Keras will create once it has built a model.

    If memory runs out before that, Keras keeps the list, and tries to create these variables again
    with the next model, however small that model is.

    Args:
        set_to: A list that replaces the current one; None to leave it.
    """
    state, name = global_state, "uninitialized_variables"
    if set_to is not None:
        state.set_global_attribute(name, set_to)
    return list(state.get_global_attribute(name) or [])


def _gradients() -> MutableMapping[str, Any]:
    """Return TensorFlow's registry of gradients; an empty dict if it is not where we expect it."""
    if keras.backend.backend() != "tensorflow":
        return {}  # JAX and PyTorch have no such registry
    from tensorflow.python.framework import ops  # users of other backends may not have it installed

    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", None)
    if isinstance(registry, dict):
        return registry
    _log.debug(
        "This version of TensorFlow does not keep its gradients where earlier versions did: the "
        "graphs of finished trials may stay in memory."
    )
    return {}


def layers_within(layer: keras.Layer) -> list[keras.Layer]:
    """Return the layers within a layer or model at any depth; Keras has no public method for it."""
    return list(layer._flatten_layers(include_self=False))


def begin_at(model: keras.Model, epoch: int | None) -> None:
    """Let fit() begin at this epoch, as BackupAndRestore does; None for its `initial_epoch=`."""
    model._initial_epoch = epoch


def optimizer_of(model: keras.Model) -> Any:
    """Return the optimizer that a model was compiled with; None if there is none of Keras's.

    A model with steps of its own may keep several in a dict or list under that name.
    """
    optimizer = getattr(model, "optimizer", None)
    return optimizer if isinstance(optimizer, keras.optimizers.Optimizer) else None


def compiled_metrics(model: keras.Model) -> list[Any]:
    """Return the metrics that were passed to compile(), weighted ones too, in one flat list."""
    compiled = model._compile_metrics
    if compiled is None:
        return []
    metrics = [compiled._user_metrics, compiled._user_weighted_metrics]
    return list(keras.tree.flatten([one for one in metrics if one]))


def compiled_with(model: keras.Model) -> dict[str, Any]:
    """Return the arguments that a model was compiled with, as the objects that were passed."""
    return dict(model._compile_config.config)


def symbolic_inputs(model: keras.Model) -> Any:
    """Return the inputs of a model, nested as it takes them; None for a model that is no graph."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0] if hasattr(model, "inputs") else None
    return model.input if isinstance(model, Functional) else None


def batches_of(x: Any, y: Any, weights: Any, size: int | None) -> Iterator[tuple[Any, Any, Any]]:
    """Yield inputs, targets and weights as NumPy arrays, in the batches of Model.evaluate."""
    adapter = get_data_adapter(x, y, weights, batch_size=size)
    adapter.on_epoch_begin()
    for batch in adapter.get_numpy_iterator():
        yield keras.utils.unpack_x_y_sample_weight(batch)
    adapter.on_epoch_end()


def build_symbolically(model: keras.Model, batch: Any) -> None:
    """Create the variables of a model and its metrics by a symbolic call; leave its optimizer."""
    optimizer, model.optimizer = getattr(model, "optimizer", None), None  # or a dict of several
    try:
        model._symbolic_build(data_batch=batch)
    finally:
        model.optimizer = optimizer


def strategy_of(model: keras.Model) -> Any:
    """Return the `tf.distribute` strategy that a model was made for; None if there is none."""
    return getattr(model, "_distribute_strategy", None)


def stages(dataset: Any) -> Iterator[Any]:
    """Yield a tf.data pipeline, and then all the pipelines that it reads from."""
    yield dataset
    for source in getattr(dataset, "_inputs", tuple)():
        yield from stages(source)


def is_stateful(name: str) -> bool:
    """Whether a TensorFlow op of this name has a state; True for one that is not known."""
    from tensorflow.python.framework import op_def_registry

    known = op_def_registry.get(name)
    return known is None or bool(known.is_stateful)


def held_by(dataset: Any) -> int:
    """Estimate how many bytes of data a pipeline holds in its graph, without serializing it."""
    tensors = (one for stage in stages(dataset) for one in getattr(stage, "_tensors", None) or ())
    return sum(math.prod(one.shape) * max(1, one.dtype.size) for one in tensors)


def batch_size_of(dataset: Any) -> int | None:
    """Return the size that batch() was last called with, without reading data; None if unknown."""
    sizes = (stage._batch_size for stage in stages(dataset) if hasattr(stage, "_batch_size"))
    return next(map(int, sizes), None)


def note_batch_size(dataset: Any, size: int) -> None:
    """Let `batch_size_of` return a size for a pipeline that was rebuilt from its graph."""
    dataset._batch_size = size  # as TensorFlow's own batch() writes it down


def pipeline_of(**arrays: Any) -> Any:
    """Return the tf.data pipeline that Model.fit makes from arrays, their weights and sizes."""
    return array_data_adapter.ArrayDataAdapter(**arrays).get_tf_dataset()


def epochs_of(**arrays: Any) -> Iterator[list[Any]]:
    """Yield the batches of each epoch of a Model.fit on arrays."""
    adapter = array_data_adapter.ArrayDataAdapter(**arrays)
    pipeline = adapter.get_tf_dataset()
    while True:
        adapter.on_epoch_begin()
        yield list(pipeline)
        adapter.on_epoch_end()
