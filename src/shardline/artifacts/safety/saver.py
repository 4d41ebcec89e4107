"""When a server runs the nodes that restore and save a model's variables.

It restores once, from the folder of the model, and never saves: no request and no initialiser may
run either node, or every request could write or read a checkpoint.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from shardline.artifacts.safety.graph import MAIN, Graph
from shardline.artifacts.safety.refusal import quoted, refuse

SAVED_AS_USUAL = "export it with tf.saved_model.save"


def check_saver(graph: Graph, model: str) -> None:
    """Refuse a saver that anything but saving and restoring runs.

    Raises:
        UnsafeModelError: An answer, an initialiser or the restoring itself runs it.
    """
    meta = graph.meta_graph
    restore_node = node_of(meta.saver_def.restore_op_name)
    save_node = node_of(meta.saver_def.save_tensor_name)
    if save_node and save_node in _reached(graph, [restore_node]):
        refuse(model, f"saves when it is restored (node {quoted(save_node)})", SAVED_AS_USUAL)
    for what, starts in _entries(meta):
        for found in sorted({save_node, restore_node} & _reached(graph, starts)):
            refuse(
                model,
                f"saves or restores variables (node {quoted(found)}) for {what}",
                SAVED_AS_USUAL,
            )


def node_of(tensor: str) -> str:
    """Name of the node that gives a tensor, or that an input waits for."""
    return tensor.removeprefix("^").partition(":")[0]


def _entries(meta: Any) -> Iterator[tuple[str, list[str]]]:
    """What servers run, and the nodes that they name for it."""
    for name, signature in meta.signature_def.items():
        infos = signature.outputs.values()
        yield f"its signature {quoted(name)}", [t for info in infos for t in _tensors(info)]
    for name, collection in meta.collection_def.items():
        yield f"its collection {quoted(name)}", list(collection.node_list.value)


def _tensors(info: Any) -> Iterator[str]:
    yield info.name
    sparse = info.coo_sparse
    yield from (
        sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name,
    )  # fmt: skip
    for part in info.composite_tensor.components:
        yield from _tensors(part)


def _reached(graph: Graph, starts: Iterable[str]) -> set[str]:
    """Nodes of the main graph that run with these: the inputs of inputs, data and control."""
    seen: set[str] = set()
    waiting = [node_of(start) for start in starts if start]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph.node(MAIN, name)
        waiting += map(node_of, node.input if node else ())
    return seen
