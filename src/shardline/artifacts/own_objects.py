"""What a `.keras` file needs of its reader: the classes and functions that are not Keras's own.

Read from the file's JSON alone; nothing of it is imported or run.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG_FILE = "config.json"
LAMBDA = "__lambda__"


@dataclass(frozen=True, order=True)
class OwnObject:
    """Something that `keras.models.load_model` has to be given as a custom object."""

    module: str
    """Where it can be imported from."""
    name: str
    key: str
    """What `custom_objects` calls it."""


def own_objects(file: Path, *, home: str) -> tuple[OwnObject, ...]:
    """The user's own objects in a `.keras` file that this process wrote, sorted.

    A Python lambda is one of the name `__lambda__`: Keras loads it in unsafe mode only.

    Args:
        file: The file.
        home: The builder's module, which knows the functions whose module Keras does not write.
    """
    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read(CONFIG_FILE))
    return tuple(sorted(set(_found(config, home))))


def _found(config: Any, home: str) -> Iterator[OwnObject]:
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        if not isinstance(value, dict):
            continue
        pending += value.values()
        found = _own(value, home)
        if found is not None:
            yield found


def _own(config: dict[str, Any], home: str) -> OwnObject | None:
    kind, module = config.get("class_name"), config.get("module")
    if kind == LAMBDA:
        return OwnObject(home, LAMBDA, LAMBDA)
    if not isinstance(kind, str) or "registered_name" not in config:
        return None
    if module == "keras" or str(module).startswith("keras."):
        return None
    name = str(config["config"]) if kind == "function" else kind
    key = name if kind == "function" else str(config["registered_name"] or name)
    known = module not in (None, "builtins")
    return OwnObject(str(module) if known else home, name.rpartition(">")[2], key)
