"""The graphs of tf.data pipelines: serialize, search and adapt them for many trainings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

from kerastune_optuna._backend import held_by, note_batch_size
from kerastune_optuna._data.checks import shape_of_a_batch

_IGNORE_STATE = 1  # for DatasetToGraphV2, which would reject a shuffle() because it has state
_CHANCE = ("Shuffle", "Random", "Sampling")  # in the names of ops that give other rows each time
_PLAIN = ("Batch", "Options", "Prefetch", "Shuffle")  # begin the names of ops that call no function
_LARGEST = 64e6  # bytes: a larger dataset is not kept in memory
_NAME = "kerastune_optuna/kept"


def is_tf_dataset(data: Any) -> bool:
    """Whether the data is a tf.data.Dataset."""
    return any(kind.__name__ == "DatasetV2" for kind in type(data).__mro__)


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


def is_large(dataset: Any) -> bool:
    """Whether a pipeline holds too much data to be rebuilt for each training."""
    return held_by(dataset) > _LARGEST


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


def parse(graph: bytes) -> Any:
    """Return the definition of a serialized graph."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return GraphDef.FromString(graph)


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


def is_fixed(definition: Any) -> bool:
    """Whether a pipeline certainly gives the same elements each time."""
    return not any(map(_may_differ, nodes_of(definition)))


@dataclass(frozen=True, eq=False)
class Shuffling:
    """Represent a pipeline with a shuffle(), which gives another order each time it is read.

    Each training gets a new pipeline that begins in the initial state of the user's pipeline, even
    if the user's has been read since.

    Args:
        graph: The serialized graph of the pipeline.
        element_spec: The shapes and dtypes of its elements.
        memory: The dataset that owns the memory in which the graph caches elements.
        is_tuned: Whether tf.data tunes the pipeline whenever it is read.
    """

    graph: bytes
    element_spec: Any
    memory: Any
    is_tuned: bool

    @cached_property
    def _is_seeded(self) -> bool:
        return not any(True for _ in _unseeded(parse(self.graph)))

    def begin(self, seed: int) -> Any:
        """Return the dataset for one training; a shuffle() without its own seed uses `seed`."""
        graph = self.graph if self._is_seeded else self._with_seed(seed)
        return _made(graph, self.element_spec, is_tuned=self.is_tuned)

    def _with_seed(self, seed: int) -> bytes:
        """Return the graph in which each shuffle() without its own seed uses this one."""
        definition = parse(self.graph)
        for node in _unseeded(definition):
            node.attr["value"].tensor.int64_val[:] = [seed]
        graph: bytes = definition.SerializeToString()
        return graph


def for_trainings(data: Any, *, is_read_whole: bool) -> Any:
    """Return a dataset that reads its source once, then from memory, and shuffles from a seed.

    tf.data restarts a pipeline in each epoch of each trial: it opens files, and instantiates and
    runs functions. The part before the first shuffle(), or all of a pipeline that does not shuffle,
    gives the same rows each time and is cached in memory. A pipeline that is large, or that depends
    on other state or chance, reads its source each time.

    Args:
        data: The dataset.
        is_read_whole: Whether an epoch reads it to its end.

    Returns:
        A dataset, or a Shuffling that returns a dataset for each training.
    """
    if is_large(data):
        return data
    import tensorflow as tf

    try:
        definition = parse(serialize(data))
    except (tf.errors.OpError, ValueError):
        return data
    shuffles = [node for node in _path(definition) if node.op.startswith("Shuffle")]
    memory = _kept(definition, shuffles, data) if is_read_whole else None
    shuffles_on = _from_seeds(definition)
    if memory is None and not shuffles_on:
        return data
    graph = definition.SerializeToString()
    is_tuned = memory is None or data.options().autotune.enabled or not _ends_plainly(definition)
    if shuffles_on:
        return Shuffling(graph, data.element_spec, memory, is_tuned)
    kept = _made(graph, data.element_spec, is_tuned=is_tuned)
    for _ in kept:  # a cache is complete only after the end, but Keras stops at the last batch
        pass
    return kept


def _made(graph: bytes, element_spec: Any, *, is_tuned: bool) -> Any:
    """Return the dataset of a graph, with or without the tuning of tf.data, which changes no rows.

    tf.data starts a thread for its tuning whenever a dataset is read, and ends it afterwards. That
    takes longer than it saves if rows in memory are only shuffled and put into batches
    (`python -m tests.benchmarks.tuned`).
    """
    import tensorflow as tf

    dataset = rebuild(graph, element_spec)
    if is_tuned:
        return dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _kept(definition: Any, shuffles: list[Any], data: Any) -> Any:
    """Let a graph cache what it reads; return the owner of the memory, or None if it cannot."""
    if sum(map(_may_differ, nodes_of(definition))) != len(shuffles):
        return None  # more than these shuffles depends on chance or state
    end = shuffles[-1] if shuffles else _end(definition)
    source = inputs_of(definition, end)[0]
    return _insert(definition, source, end) if _is_small(definition, source, data) else None


def _from_seeds(definition: Any) -> bool:
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


def _unseeded(definition: Any) -> Iterator[Any]:
    """Yield one constant of each pair of zero seeds, for which TensorFlow would draw seeds."""
    for node in shuffles_of(definition):
        seeds = inputs_of(definition, node)[2:4]
        if not any(seed.attr["value"].tensor.int64_val[0] for seed in seeds):
            yield seeds[0]


def _may_differ(node: Any) -> bool:
    """Whether a node may give different results each time."""
    from tensorflow.python.framework import op_def_registry

    # TensorFlow marks most of these as stateful, even those that give the same each time.
    if "Dataset" in node.op or node.op == "_Retval":
        return any(name in node.op for name in _CHANCE)
    known = op_def_registry.get(node.op)
    return known is None or bool(known.is_stateful)


def _end(definition: Any) -> Any:
    """Return the node that returns the dataset from its graph."""
    return next(node for node in definition.node if node.op == "_Retval")


def _path(definition: Any) -> Iterator[Any]:
    """Yield the nodes on the path from the end of a pipeline to its beginning."""
    node = _end(definition)
    while node.input:
        node = inputs_of(definition, node)[0]
        yield node


def _ends_plainly(definition: Any) -> bool:
    """Whether a pipeline calls no function on what it has cached.

    Of its own accord, tf.data calls functions in parallel and ahead of the training only while it
    tunes (its optimizations `map_parallelization` and `inject_prefetch`).
    """
    after = takewhile(lambda node: node.name != _NAME, _path(definition))
    return all(node.op.startswith(_PLAIN) for node in after)


def _is_small(definition: Any, source: Any, data: Any) -> bool:
    """Whether an epoch reads all elements of a node, and these certainly fit into memory."""
    specs = _specs(source)
    count, batches = _count(definition, source, specs), int(data.cardinality())
    rows = (shape_of_a_batch(data, 0) or (0,))[0]
    if rows == 0 or count < 0:
        return False
    are_batches = count == batches  # their size is None if the last one may be smaller
    if not are_batches and batches not in (count // rows, math.ceil(count / rows)):
        return False
    first = rows if are_batches else math.inf
    sizes = [count_values(spec, first) * (spec.dtype.size or math.inf) for spec in specs]
    return bool(count * sum(sizes) <= _LARGEST)


def count_values(spec: Any, rows: float, others: float = math.inf) -> float:
    """Return how many values a component of a dataset's elements has.

    Args:
        spec: The shape and dtype of the component.
        rows: The first dimension if it is None in the shape.
        others: Any other dimension that is None in the shape.
    """
    if spec.shape.rank is None:
        return math.inf
    sizes = enumerate(spec.shape)
    return math.prod((others if n else rows) if size is None else size for n, size in sizes)


def _count(definition: Any, source: Any, specs: tuple[Any, ...]) -> int:
    """Return how many elements a node gives; negative if that is unknown or infinite."""
    part = type(definition)()
    part.CopyFrom(definition)
    _end(part).input[0] = source.name
    return int(rebuild(part.SerializeToString(), specs).cardinality())


def _specs(source: Any) -> tuple[Any, ...]:
    """Return the shapes and dtypes of the elements that a dataset's node gives."""
    import tensorflow as tf

    shapes = source.attr["output_shapes"].list.shape
    return tuple(map(tf.TensorSpec, map(tf.TensorShape, shapes), _types(source)))


def _types(source: Any) -> list[int]:
    """Return the dtypes of the elements that a dataset's node gives."""
    for name in ("output_types", "Toutput_types"):
        if name in source.attr:
            return list(source.attr[name].list.type)
    return []


def _insert(definition: Any, source: Any, end: Any) -> Any:
    """Insert a cache between two nodes, and return the dataset that owns the cache's memory."""
    import tensorflow as tf

    owner = tf.data.Dataset.range(1).cache()
    made = parse(serialize(owner))
    cache = next(node for node in made.node if node.op == "CacheDatasetV2")
    kept = definition.node.add(name=_NAME, op=cache.op, input=[end.input[0]])
    for given in inputs_of(made, cache)[1:]:  # an empty file name, and the memory
        given.name = f"{_NAME}/{given.name}"
        definition.node.append(given)
        kept.input.append(given.name)
    kept.attr["output_types"].list.type.extend(_types(source))
    kept.attr["output_shapes"].CopyFrom(source.attr["output_shapes"])
    end.input[0] = kept.name
    return owner
