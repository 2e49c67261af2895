"""The graphs of tf.data pipelines: write and rebuild them, shuffle from a seed, keep few rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kerastune_optuna._backend import batch_size_of, held_by, is_stateful, note_batch_size
from kerastune_optuna._data.sources import bytes_of

_IGNORE_STATE = 1  # for DatasetToGraphV2, which would reject a shuffle() because it has state
_CHANCE = ("Shuffle", "Random", "Sampling")  # in the names of ops that give other rows each time
# The beginnings of the names of ops that pass on all rows and call no function.
_PLAIN = ("_Retval", "Batch", "Options", "Prefetch", "Shuffle")
_IN_MEMORY = ("Cache", "Tensor")  # the same of ops whose rows need no second copy
# Bytes of data in a graph, of which more would take long to copy for each training, or in memory.
_LARGEST = 64e6
_NAME = "kerastune_optuna/kept"


def serialize(dataset: Any) -> bytes:
    """Return a dataset's graph, serialized.

    Raises:
        tensorflow.errors.OpError: The graph cannot be serialized.
        ValueError: The graph is too large.
    """
    import tensorflow as tf  # installed, since the data is TensorFlow's

    graph: bytes = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset), external_state_policy=_IGNORE_STATE
    ).numpy()
    return graph


def rebuild(graph: bytes, element_spec: Any, batch_size: int | None = None) -> Any:
    """Return the dataset of a serialized graph.

    Args:
        graph: The graph.
        element_spec: The shapes and dtypes of its elements.
        batch_size: What `batch_size_of` is to say of it; None (default) for unknown.
    """
    import tensorflow as tf

    variant = tf.raw_ops.DatasetFromGraph(graph_def=graph)
    dataset = tf.data.experimental.from_variant(variant, element_spec)
    if batch_size is not None:
        note_batch_size(dataset, batch_size)
    return dataset


def definition_of(dataset: Any) -> Any:
    """Return the definition of a dataset's graph; None if it is large or cannot be serialized."""
    import tensorflow as tf

    if held_by(dataset) > _LARGEST:
        return None
    try:
        return parse(serialize(dataset))
    except (tf.errors.OpError, ValueError):
        return None


def parse(graph: bytes) -> Any:
    """Return the definition of a serialized graph."""
    import tensorflow as tf

    return tf.compat.v1.GraphDef.FromString(graph)


def nodes_of(definition: Any) -> list[Any]:
    """Return all nodes of a graph, including those of its functions."""
    functions = [node for function in definition.library.function for node in function.node_def]
    return [*definition.node, *functions]


def inputs_of(definition: Any, node: Any) -> list[Any]:
    """Return the input nodes of a node of a graph, in their order."""
    nodes = {one.name: one for one in definition.node}
    return [nodes[name.split(":")[0]] for name in node.input]


def shuffles_of(definition: Any) -> list[Any]:
    """Return the shuffle nodes, whose inputs are a dataset, a buffer size, and two seeds."""
    return [node for node in definition.node if node.op.startswith("Shuffle")]


def shuffles(dataset: Any) -> bool:
    """Whether a dataset shuffles, or may do so, since its graph is unknown."""
    definition = definition_of(dataset)
    return definition is None or bool(shuffles_of(definition))


def may_differ(node: Any) -> bool:
    """Whether a node may give different results each time."""
    # TensorFlow marks most of these as stateful, even those that give the same each time.
    if "Dataset" in node.op or node.op == "_Retval":
        return any(name in node.op for name in _CHANCE)
    return is_stateful(node.op)


@dataclass(frozen=True, eq=False)
class Shuffling:
    """Represent a pipeline with a shuffle(), which gives another order each time it is read.

    Each training gets a new pipeline that begins in the initial state of the user's pipeline, even
    if the user's has been read since.

    Args:
        dataset: The pipeline, which owns the memory of its caches.
        definition: The definition of its graph.
        unseeded: The constants in it that a training sets to its own seed.
    """

    dataset: Any
    definition: Any
    unseeded: Sequence[Any]

    def begin(self, seed: int) -> Any:
        """Return the dataset for one training; a shuffle() without its own seed uses `seed`."""
        for constant in self.unseeded:
            constant.attr["value"].tensor.int64_val[:] = [seed]
        return rebuild(self.definition.SerializeToString(), self.dataset.element_spec)


def for_trainings(data: Any) -> Any:
    """Return a Shuffling of a dataset that shuffles, and any other dataset as it is.

    A pipeline that holds too much data to be copied, or that cannot be serialized, continues with
    its own orders.
    """
    definition = definition_of(data)
    if definition is None or not from_seeds(definition):
        return data
    unseeded = []
    for node in shuffles_of(definition):
        seeds = inputs_of(definition, node)[2:4]
        # For a pair of zeros, TensorFlow would draw seeds.
        if not any(seed.attr["value"].tensor.int64_val[0] for seed in seeds):
            unseeded.append(seeds[0])
    return Shuffling(data, definition, unseeded)


def from_seeds(definition: Any) -> bool:
    """Let all shuffles of a graph begin with their seeds; return whether there are any.

    A graph refers to the generator from which its dataset draws orders. Without this change, a
    dataset that the same process builds from the graph would continue with that generator.
    """
    import tensorflow as tf

    generators = [
        given
        for node in shuffles_of(definition)
        for given in inputs_of(definition, node)
        # Reading a key of a protobuf map adds it, and TensorFlow would report unknown attributes.
        if "dtype" in given.attr and given.attr["dtype"].type == tf.resource.as_datatype_enum
    ]
    for node in generators:
        name = node.name
        node.Clear()
        node.name, node.op = name, "DummySeedGenerator"  # makes tf.data create a new generator
    return bool(generators)


def from_memory(data: Any) -> Any:
    """Return a dataset that gives the same but reads its source once, or else the data itself.

    tf.data restarts a pipeline in each epoch of each trial: it opens files, and instantiates and
    runs functions. If the rows are few, and certainly the same each time, a cache is inserted
    before the first shuffle() or batch(). Such a pipeline is not tuned either: whenever it is read,
    tf.data would start a thread for that, which takes longer than it saves.
    """
    import tensorflow as tf

    definition = definition_of(data)
    if definition is None or not 0 < bytes_of(data, unknown=math.inf) <= _LARGEST:
        return data
    plain = [next(node for node in definition.node if node.op == "_Retval")]
    while (source := inputs_of(definition, plain[-1])[0]).op.startswith(_PLAIN):
        plain.append(source)
    shuffles = [node for node in plain if node.op.startswith("Shuffle")]
    if sum(map(may_differ, nodes_of(definition))) != len(shuffles):
        return data
    if not source.op.startswith(_IN_MEMORY):
        _insert_cache(definition, source, plain[-1], data)
    kept = rebuild(definition.SerializeToString(), data.element_spec, batch_size_of(data))
    options = tf.data.Options()
    options.autotune.enabled = bool(data.options().autotune.enabled)
    kept = kept.with_options(options)
    if not shuffles:
        for _ in kept:  # a cache is complete only after the end, but Keras stops at the last batch
            pass
    return kept


def _insert_cache(definition: Any, source: Any, reader: Any, data: Any) -> None:
    """Insert a cache between two nodes of the graph of a dataset."""
    import tensorflow as tf

    add = definition.node.add
    file = add(name=f"{_NAME}/file", op="Const")
    file.attr["dtype"].type = tf.string.as_datatype_enum
    file.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(""))  # no file
    memory = add(name=f"{_NAME}/memory", op="DummyMemoryCache")  # the dataset owns its memory
    cache = add(name=_NAME, op="CacheDatasetV2", input=[reader.input[0], file.name, memory.name])
    types = [spec.dtype.as_datatype_enum for spec in tf.nest.flatten(data.element_spec)]
    cache.attr["output_types"].list.type.extend(types)
    cache.attr["output_shapes"].CopyFrom(source.attr["output_shapes"])
    reader.input[0] = cache.name
