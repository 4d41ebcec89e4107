"""The JSON that a Keras model is rebuilt from: which names and sizes it may have.

Keras's own `safe_mode` looks at a few of them only, and at what it is about to make. This walk sees
all of the text, also what no output depends on.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from shardline.artifacts.safety.keras_names import (
    ROOT_CLASSES,
    RUNS_CODE,
    VALUES,
    is_allowed_class,
    is_allowed_function,
)
from shardline.artifacts.safety.layer_sizes import (
    Shape,
    built_shapes,
    dimensions,
    shape_sizes,
    weight_bytes,
)
from shardline.artifacts.safety.limits import (
    MAX_CONFIG_DEPTH,
    MAX_DIMENSION,
    MAX_ESTIMATE_RATIO,
    MAX_UNSTORED_WEIGHT_BYTES,
)
from shardline.artifacts.safety.refusal import quoted, refuse

RESAVE = "rebuild it of Keras's own layers, load its weights there and save it anew"


@dataclass(frozen=True)
class _Part:
    """A value of the config, and where it is."""

    value: Any
    path: str
    depth: int
    shapes: tuple[Shape, ...] = ()
    """What the layer around it was built for, if it says so."""

    def called_on(self, unbuilt: int) -> list[Shape]:
        """Shapes that it may get: what it was built for says nothing where its end is open."""
        closed = any(isinstance(shape[-1], int) for shape in self.shapes)
        return [*self.shapes] if closed else [*self.shapes, [None, unbuilt]]

    def children(self) -> Iterator["_Part"]:
        if isinstance(self.value, dict):
            for key, value in self.value.items():
                place = f"{self.path}.{key}" if self.path else key
                yield _Part(value, place, self.depth + 1, self.shapes)
        elif isinstance(self.value, list):
            for index, value in enumerate(self.value):
                place = f"{self.path}[{index}]"
                yield _Part(value, place, self.depth + 1, self.shapes)


def check_config(text: str | bytes, model: str, *, file_bytes: int) -> None:
    """Refuse a config that names code or files, or sizes that its file cannot have weights for.

    Args:
        text: JSON.
        model: What to call it.
        file_bytes: Size of the whole file, weights included.

    Raises:
        UnsafeModelError: It does.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(model, f"has a config that is no JSON ({type(error).__name__})", "save it anew")
    parts = list(_objects(config, model))
    for part in parts:
        _check_names(part, model)
        _check_dimensions(part, model)
        _check_calls(part, model)
    # A layer that does not say what it was built for may get all of an input, flattened.
    unbuilt = max((size for part in parts for size in shape_sizes(part.value)), default=1)
    allocated = sum(weight_bytes(part.value, shapes=part.called_on(unbuilt)) for part in parts)
    allowed = MAX_UNSTORED_WEIGHT_BYTES + MAX_ESTIMATE_RATIO * file_bytes
    if allocated > allowed:
        refuse(
            model,
            f"describes layers of about {allocated:,} bytes of weights, in a file of "
            f"{file_bytes:,}",
            "save it anew, with its weights",
        )


def _objects(config: Any, model: str) -> Iterator[_Part]:
    """All JSON objects, outer ones first."""
    waiting = [_Part(config, "", 0)]
    while waiting:
        part = waiting.pop()
        if part.depth > MAX_CONFIG_DEPTH:
            refuse(model, f"has a config of more than {MAX_CONFIG_DEPTH} levels", RESAVE)
        if isinstance(part.value, dict):
            if "class_name" in part.value:
                part = replace(part, shapes=_built_shapes(part))
            yield part
        waiting.extend(part.children())


def _built_shapes(part: _Part) -> tuple[Shape, ...]:
    """A layer inside another is built with it; one of a model is built by itself."""
    name = part.value["class_name"]
    if isinstance(name, str) and name in ROOT_CLASSES:
        return ()
    return tuple(built_shapes(part.value)) or part.shapes


def _check_names(part: _Part, model: str) -> None:
    entry, where = part.value, f"at {quoted(part.path)} of its config"
    if "function_type" in entry:
        refuse(model, f"brings a Python function, {where}", RESAVE)
    if isinstance(entry.get("vocabulary"), str):
        refuse(
            model,
            f"reads its vocabulary from the file {quoted(entry['vocabulary'])}, {where}",
            "give the layer its words and save the model anew",
        )
    if "class_name" in entry:
        _check_class(entry, model, where)


def _check_class(entry: dict[str, Any], model: str, where: str) -> None:
    name, module, inner = entry["class_name"], entry.get("module"), entry.get("config")
    if not isinstance(name, str) or not isinstance(module, str | None):
        refuse(model, f"has a class name that is no text, {where}", RESAVE)
    if name in RUNS_CODE:
        refuse(model, f"has a {name}, which runs Python or files of its own, {where}", RESAVE)
    if name in VALUES:
        return
    if name == "function":
        allowed, own = is_allowed_function(module, inner), inner
    else:
        allowed, own = is_allowed_class(module, name), name
    if not allowed:
        _needs_code(model, f"{module}.{own}" if module else own, where)
    # What is registered under a name goes before what `module` and `class_name` say.
    registered = entry.get("registered_name")
    if registered is not None and registered != own:
        _needs_code(model, registered, where)


def _needs_code(model: str, name: object, where: str) -> None:
    refuse(model, f"needs custom code, {quoted(name)}, {where}", RESAVE)


def _check_dimensions(part: _Part, model: str) -> None:
    largest = max(dimensions(part.value), default=0)
    if largest > MAX_DIMENSION:
        refuse(
            model,
            f"has a size of {largest:,}, at {quoted(part.path)} of its config",
            f"at most {MAX_DIMENSION:,} are allowed",
        )


def _check_calls(part: _Part, model: str) -> None:
    """A call without a symbolic tensor is computed while the model is being loaded."""
    nodes = part.value.get("inbound_nodes")
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict) and not _has_symbol(node):
            refuse(
                model,
                f"computes while it is loaded, at {quoted(part.path)} of its config",
                "call its layers on inputs of the model only",
            )


def _has_symbol(node: dict[str, Any]) -> bool:
    waiting = [_Part(node, "", 0)]
    while waiting:
        part = waiting.pop()
        if isinstance(part.value, dict) and part.value.get("class_name") == "__keras_tensor__":
            return True
        if part.depth <= MAX_CONFIG_DEPTH:
            waiting.extend(part.children())
    return False
