"""The variables of a SavedModel: what their index declares against the bytes that are there."""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shardline.artifacts.safety.refusal import quoted, refuse

VARIABLES_FOLDER = "variables"
INDEX_FILE = "variables.index"
OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"

_DATA_FILE = re.compile(r"variables\.data-\d{5}-of-\d{5}")


def check_variables(folder: Path, model: str) -> None:
    """Refuse shapes that are larger than the files that hold their values.

    TensorFlow allocates a variable by its declared shape before it reads a byte of it.

    Raises:
        UnsafeModelError: The index is damaged, or declares more than is there.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    variables = folder / VARIABLES_FOLDER
    if not (variables / INDEX_FILE).is_file():
        refuse(model, f"has no {VARIABLES_FOLDER}/{INDEX_FILE}", "export it anew")
    present = sum(file.stat().st_size for file in _data_files(variables, model))
    # Not `tf.train.load_checkpoint`, which prefers a folder of that name to what TensorFlow loads.
    new_reader = tf.compat.v1.train.NewCheckpointReader
    reader = _reading(lambda: new_reader(str(variables / "variables")), model)
    shapes = reader.get_variable_to_shape_map()
    dtypes = reader.get_variable_to_dtype_map()
    declared = 0
    for name, shape in shapes.items():
        # Each text takes a byte at least.
        declared += math.prod(shape) * (dtypes[name].size if dtypes[name] != tf.string else 1)
        if declared > present:
            refuse(
                model,
                f"declares variables of {declared:,} bytes, up to {quoted(name)} of shape "
                f"{list(shape)}, where {present:,} are in its files",
                "export it anew",
            )
    if OBJECT_GRAPH_KEY not in shapes:
        return
    content = _reading(lambda: reader.get_tensor(OBJECT_GRAPH_KEY), model)
    objects = _reading(lambda: TrackableObjectGraph.FromString(content), model)
    for node in objects.nodes:
        if node.HasField("registered_saver"):
            refuse(
                model,
                f"has a variable with a saver of its own, {quoted(node.registered_saver.name)}",
                "export it without classes of its own",
            )


def _data_files(variables: Path, model: str) -> Iterator[Path]:
    for path in sorted(variables.iterdir()):
        if path.name == INDEX_FILE:
            continue
        if not (_DATA_FILE.fullmatch(path.name) and path.is_file()):
            refuse(
                model,
                f"has {quoted(f'{VARIABLES_FOLDER}/{path.name}')}, which no exported model has",
                f"keep only {INDEX_FILE} and its data files in {VARIABLES_FOLDER}/",
            )
        yield path


def _reading(read: Callable[[], Any], model: str) -> Any:
    try:
        return read()
    except Exception as error:  # noqa: BLE001  # TensorFlow raises what it likes on damaged bytes
        refuse(
            model,
            f"has variables that cannot be read ({type(error).__name__}: {error})",
            "export it anew",
        )
