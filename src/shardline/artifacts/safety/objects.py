"""The objects of a SavedModel that Python makes on loading, and the files they stand for."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from shardline.artifacts.safety.limits import MAX_UNSTORED_CONSTANT_BYTES
from shardline.artifacts.safety.operations import tensors, unstored_bytes
from shardline.artifacts.safety.refusal import quoted, refuse

ASSETS_FOLDER = "assets"
NEEDS_CODE = "export it without classes of its own"

# TensorFlow's own containers; any other type is looked up among what this process has registered.
PLAIN_OBJECTS = frozenset({
    "_generic_user_object", "signature_map", "trackable_dict_wrapper", "trackable_list_wrapper",
    "trackable_tuple_wrapper",
})  # fmt: skip
REGISTERED_CLASSES = frozenset({"", "tf.StaticHashTable", "tf.TrackableConstant"})


def check_objects(meta_graph: Any, folder: Path, model: str) -> None:
    """Refuse objects of foreign classes or unlisted functions, and assets outside `assets/`.

    Raises:
        UnsafeModelError: There is one.
    """
    objects = meta_graph.object_graph_def
    for node in objects.nodes:
        if node.registered_name not in REGISTERED_CLASSES:
            refuse(
                model,
                f"has an object of the registered class {quoted(node.registered_name)}",
                NEEDS_CODE,
            )
        if node.registered_saver:
            refuse(
                model,
                f"has an object with a saver of its own, {quoted(node.registered_saver)}",
                NEEDS_CODE,
            )
        if (
            node.WhichOneof("kind") == "user_object"
            and node.user_object.identifier not in PLAIN_OBJECTS
        ):
            refuse(
                model,
                f"has an object of type {quoted(node.user_object.identifier)}",
                NEEDS_CODE,
            )
        _check_functions(node, objects.concrete_functions, model)
    _check_assets(meta_graph, folder, model)
    unstored = sum(map(unstored_bytes, tensors(objects)))
    if unstored > MAX_UNSTORED_CONSTANT_BYTES:
        refuse(
            model,
            f"has {unstored:,} bytes of values in its function signatures that are not in the file",
            "export it anew",
        )


def _check_functions(node: Any, listed: Any, model: str) -> None:
    """TensorFlow also calls a function of the library that the list of functions leaves out."""
    for name in _functions(node):
        if name not in listed:  # a look-up by [] would add it
            refuse(
                model,
                f"has an object that calls {quoted(name)}, which is not among its functions",
                "export it anew",
            )


def _functions(node: Any) -> Iterator[str]:
    kind = node.WhichOneof("kind")
    if kind == "function":
        yield from node.function.concrete_functions
    elif kind == "bare_concrete_function":
        yield node.bare_concrete_function.concrete_function_name
    # A `captured_tensor` names a function that is not called; quantised layers have unlisted ones.


def _check_assets(meta_graph: Any, folder: Path, model: str) -> None:
    if "saved_model_assets" in meta_graph.collection_def:
        refuse(model, "lists assets as TensorFlow 1 did", "export it with tf.saved_model.save")
    for asset in meta_graph.asset_file_def:
        parts = PurePosixPath(asset.filename).parts
        inside = bool(parts) and ".." not in parts and not asset.filename.startswith("/")
        # `scheme://…` is a remote file to TensorFlow, wherever it stands.
        if not inside or "://" in asset.filename or "\\" in asset.filename:
            refuse(
                model,
                f"names an asset outside its own folder, {quoted(asset.filename)}",
                "keep vocabularies in the model",
            )
        if not (folder / ASSETS_FOLDER / asset.filename).is_file():
            refuse(
                model,
                f"names an asset that is not there, {quoted(asset.filename)}",
                "export it anew",
            )
