"""Spec files: YAML plus `--set` overrides to a checked `Spec`, with errors a person can act on."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shardline.errors import SpecError
from shardline.spec.spec import Spec

_NO_SECTION = ("model_type", "model_attributes_type", "dict_type")


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
        _apply_override(values, override)
    return check_spec(values, where=str(file)).located_at(file.parent)


def check_spec(values: dict[str, Any], *, where: str) -> Spec:
    """Build a `Spec` from plain values.

    Raises:
        SpecError: One sentence per problem, the nearest key named for an unknown one.
    """
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_sentence(detail) for detail in error.errors(include_url=False))
        raise SpecError(f"{where}: {problems}{'' if problems.endswith('?') else '.'}") from error


def _apply_override(values: dict[str, Any], override: str) -> None:
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


def _sentence(detail: ErrorDetails) -> str:
    key = _key_of(detail["loc"])
    kind, got = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        return f"unknown key {key!r}{_suggestion(detail['loc'])}"
    if kind == "missing":
        return f"{key!r} is missing"
    if kind.startswith("union_tag"):
        return _tag_sentence(key, detail["ctx"])
    if kind in _NO_SECTION:
        return f"{key}: expected a section with keys of its own, got {got!r}"
    message = detail["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
    if kind == "value_error" or isinstance(got, dict | list):
        return f"{key or 'spec'}: {message}"
    return f"{key}: {message[0].lower() + message[1:]}, got {got!r}"


def _tag_sentence(key: str, context: dict[str, Any]) -> str:
    """A union's tag is missing or unknown."""
    tag = f"{key}.{context['discriminator'].strip(chr(39))}"
    if "tag" not in context:
        return f"{tag!r} is missing"
    return f"{tag}: expected one of {context['expected_tags']}, got {context['tag']!r}"


def _key_of(location: Sequence[str | int]) -> str:
    """The dotted key as users write it: without the tags of unions and pydantic's own marks."""
    model: Any = Spec
    parts = []
    for part in map(str, location):
        if part != "[key]" and not isinstance(model, tuple):
            parts.append(part)
        model = _descend(model, part)
    return ".".join(parts)


def _suggestion(location: Sequence[str | int]) -> str:
    known = _keys_at(Spec, location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if near:
        return f", did you mean {near[0]!r}?"
    return f", expected one of {', '.join(known)}" if known else ""


def _keys_at(model: Any, location: Sequence[str | int]) -> list[str]:
    """Field names of the section at `location`; union tags in the path choose the member."""
    for part in location:
        model = _descend(model, str(part))
    return sorted(model.model_fields) if _is_section(model) else []


def _descend(model: Any, part: str) -> Any:
    if _is_section(model) and part in model.model_fields:
        return _unwrap(model.model_fields[part].annotation)
    if isinstance(model, tuple):
        sections = [member for member in model if _is_section(member)]
        tagged = [m for m in sections if part == get_args(m.model_fields["format"].annotation)[0]]
        return tagged[0] if tagged else None
    if get_origin(model) is dict:
        return _unwrap(get_args(model)[1])
    return None


def _unwrap(annotation: Any) -> Any:
    """The section (or tuple of tagged sections) inside `Annotated` and `| None`."""
    if get_origin(annotation) in (Union, UnionType):
        members = [_unwrap(member) for member in get_args(annotation) if member is not type(None)]
        return members[0] if len(members) == 1 else tuple(members)
    if hasattr(annotation, "__metadata__"):
        return _unwrap(annotation.__origin__)
    return annotation


def _is_section(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)
