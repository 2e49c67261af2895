"""The graphs of tf.data pipelines: written, searched, and begun anew for each training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kerastune_optuna._backend import held_by

_IGNORE_STATE = 1  # for DatasetToGraphV2, which would refuse a shuffle() because it has state
_CHANCE = ("Shuffle", "Random", "Sampling")  # in the names of ops that give other rows each time
_LARGEST = 64e6  # bytes of data in a pipeline that is built anew for each training


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


def rebuild(graph: bytes, element_spec: Any) -> Any:
    """Return the dataset of a serialised graph."""
    import tensorflow as tf

    variant = tf.raw_ops.DatasetFromGraph(graph_def=graph)
    return tf.data.experimental.from_variant(variant, element_spec)


def parse(graph: bytes) -> Any:
    """Return the definition of a serialised graph."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return GraphDef.FromString(graph)


def nodes_of(definition: Any) -> list[Any]:
    """Return all nodes of a graph, those inside of its functions too."""
    functions = [node for function in definition.library.function for node in function.node_def]
    return [*definition.node, *functions]


def inputs_of(definition: Any, node: Any) -> list[Any]:
    """Return the nodes that a node of a graph reads, in their order."""
    nodes = {one.name: one for one in definition.node}
    return [nodes[name.split(":")[0]] for name in node.input]


def shuffles_of(definition: Any) -> list[Any]:
    """Return the nodes that shuffle: each reads a dataset, the size of a buffer, and its seeds."""
    return [node for node in definition.node if node.op.startswith("Shuffle")]


def is_fixed(definition: Any) -> bool:
    """Whether a pipeline is sure to give the same each time."""
    return not any(map(_may_differ, nodes_of(definition)))


@dataclass(frozen=True, eq=False)
class Shuffling:
    """Stand for a pipeline with a shuffle(), whose generator goes on from one reading to the next.

    Each training gets a pipeline of its own, which begins as the user's pipeline did, whatever has
    read the user's since.

    Args:
        graph: Its graph, serialised.
        element_spec: The shapes and types of its elements.
        owner: The user's dataset, which owns the memory in which a cache() of it keeps rows.
    """

    graph: bytes
    element_spec: Any
    owner: Any

    @cached_property
    def _is_seeded(self) -> bool:
        return not any(True for _ in _unseeded(parse(self.graph)))

    def begin(self, seed: int) -> Any:
        """Return the dataset for one training; a shuffle() without a seed takes this one."""
        if self._is_seeded:
            return rebuild(self.graph, self.element_spec)
        definition = parse(self.graph)
        for node in _unseeded(definition):
            node.attr["value"].tensor.int64_val[:] = [seed]
        return rebuild(definition.SerializeToString(), self.element_spec)


def shuffling(data: Any) -> Shuffling | None:
    """Return what begins a pipeline for each training; None for data that does not shuffle itself.

    A pipeline that is large, or that cannot be written, is not copied: its order goes on from one
    training to the next.
    """
    if not is_tf_dataset(data) or held_by(data) > _LARGEST:
        return None
    import tensorflow as tf

    try:
        definition = parse(serialize(data))
    except (tf.errors.OpError, ValueError):
        return None
    if not _from_seeds(definition):
        return None
    return Shuffling(definition.SerializeToString(), data.element_spec, data)


def _from_seeds(definition: Any) -> bool:
    """Let all shuffles of a graph begin with their seeds; return whether there are any.

    A graph names the generator from which its dataset draws orders: a dataset that the same process
    builds from this graph would go on with that generator.
    """
    import tensorflow as tf

    generators = [
        given
        for node in shuffles_of(definition)
        for given in inputs_of(definition, node)
        # Reading a key of a protobuf map adds it: TensorFlow would print of unknown attributes.
        if "dtype" in given.attr and given.attr["dtype"].type == tf.resource.as_datatype_enum
    ]
    for node in generators:
        name = node.name
        node.Clear()
        node.name, node.op = name, "DummySeedGenerator"  # from which tf.data makes a new one
    return bool(generators)


def _unseeded(definition: Any) -> Iterator[Any]:
    """Yield one constant of each pair of seeds that are both 0: TensorFlow then draws seeds."""
    for node in shuffles_of(definition):
        seeds = inputs_of(definition, node)[2:4]
        if not any(seed.attr["value"].tensor.int64_val[0] for seed in seeds):
            yield seeds[0]


def _may_differ(node: Any) -> bool:
    """Whether a node may give something else each time."""
    from tensorflow.python.framework import op_def_registry

    # TensorFlow marks most of these as stateful, also those that give the same each time.
    if "Dataset" in node.op or node.op == "_Retval":
        return any(name in node.op for name in _CHANCE)
    known = op_def_registry.get(node.op)
    return known is None or bool(known.is_stateful)


def count_values(spec: Any, rows: float, others: float = math.inf) -> float:
    """Return how many values a part of an element has.

    Args:
        spec: Its shape and type.
        rows: Its first size, where the shape leaves that open.
        others: Each other size that the shape leaves open.
    """
    if spec.shape.rank is None:
        return math.inf
    sizes = enumerate(spec.shape)
    return math.prod((others if n else rows) if size is None else size for n, size in sizes)
