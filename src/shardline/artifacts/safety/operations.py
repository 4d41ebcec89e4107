"""Which operations, and which constants, a graph may have."""

from collections.abc import Iterator
from typing import Any

from shardline.artifacts.safety.allowed_ops import ALLOWED_OPS, RESTORES, SAVES, TABLES_FROM_FILES
from shardline.artifacts.safety.graph import Graph, spot
from shardline.artifacts.safety.limits import MAX_NODES, MAX_UNSTORED_CONSTANT_BYTES
from shardline.artifacts.safety.refusal import listed, quoted, refuse

# Enough for every dtype of TensorFlow that is no text, text being pointer, length and capacity.
MAX_ITEM_BYTES = 24


def check_operations(graph: Graph, model: str) -> None:
    """Refuse operations that are not on the list, and constants that outgrow their bytes.

    Raises:
        UnsafeModelError: There is one, reachable or not.
    """
    num_nodes = sum(1 for _ in graph.nodes())
    if num_nodes > MAX_NODES:
        refuse(
            model,
            f"has {num_nodes:,} operations, more than {MAX_NODES:,}",
            "split it into several models",
        )
    if graph.has_doubles():
        refuse(model, "has two operations, functions or arguments of one name", "export it anew")
    known = ALLOWED_OPS | RESTORES | SAVES | TABLES_FROM_FILES
    disguised = known & graph.functions.keys()
    if disguised:  # TensorFlow would take the function for the operation
        refuse(model, f"has a function that is called {listed(disguised)}", "rename it")
    refused = [(place, node) for place, node in graph.nodes() if node.op not in known]
    if refused:
        first = {node.op: spot(place, node) for place, node in reversed(refused)}
        ops = dict.fromkeys(node.op for _, node in refused)
        named = listed(f"{_described(op)} ({first[op]})" for op in ops)
        refuse(
            model,
            f"contains {named}",
            "a served model may not touch files, the network or this host's code: use keras.ops or "
            "TensorFlow operations that compute on tensors",
        )
    _check_constants(graph, model)


def tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto in a message, however deep."""
    if message.DESCRIPTOR.full_name == "tensorflow.TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for part in value.values():
                    yield from tensors(part)
        elif hasattr(value, "DESCRIPTOR"):
            yield from tensors(value)
        else:
            for part in value:
                yield from tensors(part)


def unstored_bytes(tensor: Any) -> int:
    """Memory that a constant takes beyond the bytes that hold it."""
    num_elements = 1
    for dimension in tensor.tensor_shape.dim:
        num_elements *= max(0, dimension.size)
    return max(0, num_elements * _item_bytes(tensor.dtype) - int(tensor.ByteSize()))


def _check_constants(graph: Graph, model: str) -> None:
    unstored = 0
    for place, node in graph.nodes():
        unstored += sum(map(unstored_bytes, _node_tensors(node)))
        if unstored > MAX_UNSTORED_CONSTANT_BYTES:
            refuse(
                model,
                f"has constants of {unstored:,} bytes that are not in the file, up to "
                f"{spot(place, node)}",
                f"at most {MAX_UNSTORED_CONSTANT_BYTES:,} are allowed: compute them in the graph",
            )


def _node_tensors(node: Any) -> Iterator[Any]:
    for value in node.attr.values():
        if value.HasField("tensor"):
            yield value.tensor
        yield from value.list.tensor
        # Attributes of functions that a node calls may hold tensors themselves.
        if value.HasField("func"):
            yield from tensors(value.func)
        for function in value.list.func:
            yield from tensors(function)


def _item_bytes(dtype: int) -> int:
    import tensorflow as tf

    try:
        return int(tf.dtypes.as_dtype(dtype).size) or MAX_ITEM_BYTES
    except TypeError:
        return MAX_ITEM_BYTES


def _described(op: str) -> str:
    import tensorflow as tf

    if op.isidentifier() and hasattr(tf.raw_ops, op):
        return op
    return f"{quoted(op)}, which is not in tf.raw_ops"
