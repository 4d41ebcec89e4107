"""Spec files: YAML plus `--set` overrides to a checked `Spec`, with errors a person can act on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from shardline.errors import SpecError
from shardline.spec.spec import Spec


def load_spec(path: str | Path, *, overrides: Iterable[str] = ()) -> Spec:
    """Read, override and check a spec file.

    Args:
        path: The YAML file. Relative locations in it count from its folder.
        overrides: `a.b=value` assignments, the value in YAML.

    Raises:
        SpecError: The file cannot be read or does not describe a line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot read spec {str(file)!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"cannot read spec {str(file)!r}: it is not UTF-8 text.") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{file} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise SpecError(f"{file} must hold a mapping with `name`, `store`, `data` and `model`.")
    for override in overrides:
        apply_override(values, override)
    return check_spec(values, where=str(file)).located_at(file.parent)


def check_spec(values: dict[str, Any], *, where: str) -> Spec:
    """Build a `Spec` from plain values.

    Args:
        values: What a spec file holds.
        where: What to call it in errors.

    Raises:
        SpecError: One sentence per problem, the nearest key named for an unknown one.
    """
    try:
        return Spec(**{str(key): value for key, value in values.items()})
    except SpecError as error:
        raise SpecError(f"{where}: {error.message}") from error


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one key of a spec's plain values.

    Args:
        values: What a spec file holds; changed in place.
        override: `a.b=value`, the value in YAML.

    Raises:
        SpecError: It is no assignment, or goes below something that is no section.
    """
    key, separator, text = override.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise SpecError(f"--set {override!r} is not an assignment; write --set train.epochs=5.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"--set {override!r}: {text!r} is not a YAML value.") from error
    target = values
    for depth, part in enumerate(parts[:-1], start=1):
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            parent = ".".join(parts[:depth])
            raise SpecError(f"--set {override!r}: {parent} is a value, not a section.")
    target[parts[-1]] = value
