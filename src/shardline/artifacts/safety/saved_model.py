"""A SavedModel folder, looked through before TensorFlow loads it.

`tf.saved_model.load` runs the graph's initialisers, and a call runs its graph: both can do all that
their operations can. Nothing is run or restored here; files are parsed and compared.
"""

import stat
from pathlib import Path
from typing import Any

from shardline.artifacts.safety.checkpoint_index import check_variables
from shardline.artifacts.safety.file_names import FileNames
from shardline.artifacts.safety.graph import Graph
from shardline.artifacts.safety.limits import MAX_FILES, MAX_GRAPH_FILE_BYTES
from shardline.artifacts.safety.objects import check_objects
from shardline.artifacts.safety.operations import check_operations
from shardline.artifacts.safety.refusal import quoted, refuse
from shardline.artifacts.safety.saver import check_saver
from shardline.artifacts.signature import SIGNATURE
from shardline.model.tensorflow_import import import_tensorflow

GRAPH_FILE = "saved_model.pb"
OTHER_GRAPH_FILES = frozenset({"saved_model.pbtxt", "saved_model.cpb", "keras_metadata.pb"})
"""Graphs that other programs, or versions, may load in its place; the last has Python in it."""


def check_saved_model(folder: Path, *, called: str | None = None) -> None:
    """Refuse a SavedModel that could do more than compute answers from its inputs.

    Args:
        folder: With `saved_model.pb`, `variables/` and `assets/`.
        called: What to call it; the model in that folder.

    Raises:
        UnsafeModelError: It has operations, objects, file names, sizes or files that it may not
            have, or is no SavedModel as `tf.saved_model.save` writes it.
    """
    model = called or f"the model in {folder}"
    _check_files(folder, model)
    meta_graph = _meta_graph(folder, model)
    graph = Graph(meta_graph)
    check_operations(graph, model)
    FileNames(graph, model).check()
    check_saver(graph, model)
    check_objects(meta_graph, folder, model)
    check_variables(folder, model)
    if SIGNATURE not in meta_graph.signature_def:
        refuse(model, f"has no signature {SIGNATURE!r}", "export it with one")


def _check_files(folder: Path, model: str) -> None:
    for number, path in enumerate(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if number >= MAX_FILES:
            refuse(model, f"has more than {MAX_FILES:,} files", "export it anew")
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            refuse(
                model,
                f"has {quoted(name)}, which is a link or a device",
                "copy its files into the folder",
            )
        if name in OTHER_GRAPH_FILES:
            refuse(model, f"has a second graph, {quoted(name)}", f"keep only {GRAPH_FILE}")


def _meta_graph(folder: Path, model: str) -> Any:
    file = folder / GRAPH_FILE
    if not file.is_file():
        refuse(model, f"has no {GRAPH_FILE}", "export it anew")
    size = file.stat().st_size
    if size > MAX_GRAPH_FILE_BYTES:
        refuse(
            model,
            f"has a {GRAPH_FILE} of {size:,} bytes",
            f"at most {MAX_GRAPH_FILE_BYTES:,} are allowed: keep weights in variables",
        )
    import_tensorflow()
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString(file.read_bytes())
    except DecodeError:
        refuse(model, f"has a damaged {GRAPH_FILE}", "export it anew")
    if len(proto.meta_graphs) != 1 or not proto.meta_graphs[0].HasField("object_graph_def"):
        refuse(
            model,
            f"has {len(proto.meta_graphs)} graphs, or none with objects",
            "export it with tf.saved_model.save",
        )
    return proto.meta_graphs[0]
