"""The graphs of tf.data pipelines: written, searched, and given a place to keep what they read."""

from __future__ import annotations

import math
from typing import Any

from kerastune_optuna._data import shape_of_a_batch

_IGNORE_STATE = 1  # of tf.raw_ops.DatasetToGraphV2: a reshuffling dataset has state, and may travel
_CHANCE = ("Shuffle", "Random", "Sampling")  # what is in the names of ops whose rows differ
_LARGEST = 64e6  # bytes of a dataset that is kept
_NAME = "kerastune_optuna/kept"


def is_tf_dataset(data: Any) -> bool:
    """Whether the data is a tf.data.Dataset."""
    return any(kind.__name__ == "DatasetV2" for kind in type(data).__mro__)


def serialize(dataset: Any) -> bytes:
    """Return a dataset's graph, serialised.

    Raises:
        tensorflow.errors.OpError: It cannot be written.
        ValueError: It is too large.
    """
    import tensorflow as tf  # the data is TensorFlow's; other backends never come here

    graph: bytes = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset), external_state_policy=_IGNORE_STATE
    ).numpy()
    return graph


def held_by(dataset: Any) -> int:
    """Return about how many bytes of data a pipeline holds in its graph, without writing it."""
    tensors = getattr(dataset, "_tensors", None) or ()  # those of from_tensor_slices()
    own = [math.prod(tensor.shape) * max(1, tensor.dtype.size) for tensor in tensors]
    return int(sum(own)) + sum(map(held_by, dataset._inputs()))


def rebuild(graph: bytes, element_spec: Any) -> Any:
    """Return the dataset of a serialised graph."""
    import tensorflow as tf

    variant = tf.raw_ops.DatasetFromGraph(graph_def=graph)
    return tf.data.experimental.from_variant(variant, element_spec)


def parse(graph: bytes) -> Any:
    """Return the definition of a serialised graph."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return GraphDef.FromString(graph)


def ops(definition: Any) -> list[str]:
    """Return the names of all ops of a graph, those inside of its functions too."""
    functions = [node for function in definition.library.function for node in function.node_def]
    return [node.op for node in [*definition.node, *functions]]


def is_fixed(definition: Any) -> bool:
    """Whether a pipeline surely gives the same each time."""
    return not any(map(_may_differ, ops(definition)))


def shuffles_on(dataset: Any) -> bool:
    """Whether a pipeline shuffles, and goes on with it from one reading to the next."""
    nodes = parse(serialize(dataset)).node
    return any(node.attr["reshuffle_each_iteration"].b for node in nodes)


def kept_in_memory(data: Any) -> Any:
    """Return a dataset that reads its source once, and then from memory; else the data itself.

    A pipeline starts anew in each epoch of each trial: it opens files, and instantiates and runs
    its functions. What comes before the shuffle() that is farthest from its end, or all of it where
    nothing shuffles, gives the same rows each time, unless it depends on state or chance: such
    pipelines stay as they are, and so do large ones.
    """
    if not is_tf_dataset(data):
        return data
    import tensorflow as tf

    try:
        definition = parse(serialize(data))
    except (tf.errors.OpError, ValueError):
        return data
    nodes = {node.name: node for node in definition.node}
    shuffles = _shuffles(nodes, definition)
    if sum(map(_may_differ, ops(definition))) != len(shuffles):
        return data  # there is chance or state elsewhere than on the way to the end
    end = shuffles[-1] if shuffles else _end(definition)
    source = nodes[_source(end)]
    if not _is_small(definition, source, data):
        return data
    _insert(definition, source, end)
    kept = rebuild(definition.SerializeToString(), data.element_spec)
    if not shuffles:
        for _ in kept:  # Keras stops at the last batch, and only the end after it makes a whole
            pass
    return kept


def in_order(dataset: Any) -> Any:
    """Return a copy of a pipeline without its shuffles; an empty one where chance is elsewhere."""
    definition = parse(serialize(dataset))
    shuffles = {node.name: node for node in definition.node if node.op.startswith("Shuffle")}
    for node in definition.node:
        for place, name in enumerate(node.input):
            while (shuffle := shuffles.get(name.split(":")[0])) is not None:
                name = shuffle.input[0]
            node.input[place] = name
    for shuffle in shuffles.values():
        definition.node.remove(shuffle)
    copy = rebuild(definition.SerializeToString(), dataset.element_spec)
    return copy if is_fixed(definition) else copy.take(0)


def _may_differ(op: str) -> bool:
    """Whether an op may give something else each time."""
    from tensorflow.python.framework import op_def_registry

    if "Dataset" in op or op == "_Retval":  # TensorFlow calls most of these stateful
        return any(name in op for name in _CHANCE)
    known = op_def_registry.get(op)
    return known is None or bool(known.is_stateful)


def _end(definition: Any) -> Any:
    """Return the node that gives the dataset out of its graph."""
    return next(node for node in definition.node if node.op == "_Retval")


def _source(node: Any) -> str:
    """Return the name of the node before another."""
    return str(node.input[0].split(":")[0])


def _shuffles(nodes: dict[str, Any], definition: Any) -> list[Any]:
    """Return the nodes that shuffle on the way from the end of a pipeline to its beginning."""
    node, found = _end(definition), []
    while node.input:
        node = nodes[_source(node)]
        if node.op.startswith("Shuffle"):
            found.append(node)
    return found


def _is_small(definition: Any, source: Any, data: Any) -> bool:
    """Whether an epoch reads all that a node gives, and that surely fits into memory."""
    specs = _specs(source)
    count, batches = _count(definition, source, specs), int(data.cardinality())
    rows = (shape_of_a_batch(data, 0) or (0,))[0]
    if rows == 0 or count < 0:
        return False
    if count == batches:  # they are batches, whose size is open where the last one may be smaller
        sizes = [_size(spec, rows) for spec in specs]
    elif batches in (count // rows, math.ceil(count / rows)):
        sizes = [_size(spec, None) for spec in specs]
    else:
        return False
    return bool(count * sum(sizes) <= _LARGEST)


def _size(spec: Any, rows: int | None) -> Any:
    """Return the bytes of an element; infinite where its shape or its type leaves them open."""
    if spec.shape.rank is None or spec.dtype.size == 0:
        return math.inf
    sizes = [rows if n == 0 and size is None else size for n, size in enumerate(spec.shape)]
    return math.prod(math.inf if size is None else size for size in sizes) * spec.dtype.size


def _count(definition: Any, source: Any, specs: tuple[Any, ...]) -> int:
    """Return how many elements a node gives; less than none where that is unknown or endless."""
    part = type(definition)()
    part.CopyFrom(definition)
    _end(part).input[0] = source.name
    return int(rebuild(part.SerializeToString(), specs).cardinality())


def _specs(source: Any) -> tuple[Any, ...]:
    """Return the shapes and types of what a dataset's node gives."""
    import tensorflow as tf

    shapes = source.attr["output_shapes"].list.shape
    return tuple(map(tf.TensorSpec, map(tf.TensorShape, shapes), _types(source)))


def _types(source: Any) -> list[int]:
    """Return the types of what a dataset's node gives."""
    for name in ("output_types", "Toutput_types"):
        if name in source.attr:
            return list(source.attr[name].list.type)
    return []


def _insert(definition: Any, source: Any, end: Any) -> None:
    """Put a cache between two nodes."""
    import tensorflow as tf

    place = definition.node.add(name=f"{_NAME}/file", op="Const")
    place.attr["dtype"].type = tf.string.as_datatype_enum
    place.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(""))  # no file: memory
    cache = definition.node.add(name=_NAME, op="CacheDataset", input=[end.input[0], place.name])
    cache.attr["output_types"].list.type.extend(_types(source))
    cache.attr["output_shapes"].CopyFrom(source.attr["output_shapes"])
    end.input[0] = cache.name
