"""Keep in memory the rows that a tf.data pipeline only shuffles and puts into batches."""

from __future__ import annotations

import math
from typing import Any

from kerastune_optuna._backend import batch_size_of
from kerastune_optuna._data import datasets
from kerastune_optuna._data.sizes import bytes_of

# The beginnings of the names of ops that pass on all rows and call no function.
_PLAIN = ("_Retval", "Batch", "Options", "Prefetch", "Shuffle")
_IN_MEMORY = ("Cache", "Tensor")  # the same of ops whose rows need no second copy
_LARGEST = 64e6  # bytes
_NAME = "kerastune_optuna/kept"


def from_memory(data: Any) -> Any:
    """Return a dataset that gives the same but reads its source once, or else the data itself.

    tf.data restarts a pipeline in each epoch of each trial: it opens files, and instantiates and
    runs functions. If the rows are few, and certainly the same each time, a cache is inserted
    before the first shuffle() or batch(). Such a pipeline is not tuned either: whenever it is read,
    tf.data would start a thread for that, which takes longer than it saves.
    """
    import tensorflow as tf

    definition = datasets.definition_of(data)
    if definition is None or not 0 < bytes_of(data, unknown=math.inf) <= _LARGEST:
        return data
    plain = [next(node for node in definition.node if node.op == "_Retval")]
    while (source := datasets.inputs_of(definition, plain[-1])[0]).op.startswith(_PLAIN):
        plain.append(source)
    shuffles = [node for node in plain if node.op.startswith("Shuffle")]
    if sum(map(datasets.may_differ, datasets.nodes_of(definition))) != len(shuffles):
        return data
    if not source.op.startswith(_IN_MEMORY):
        _insert(definition, source, plain[-1], data)
    kept = datasets.rebuild(definition.SerializeToString(), data.element_spec, batch_size_of(data))
    options = tf.data.Options()
    options.autotune.enabled = bool(data.options().autotune.enabled)
    kept = kept.with_options(options)
    if not shuffles:
        for _ in kept:  # a cache is complete only after the end, but Keras stops at the last batch
            pass
    return kept


def _insert(definition: Any, source: Any, reader: Any, data: Any) -> None:
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
