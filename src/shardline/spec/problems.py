"""Sentences for what pydantic found wrong, in the words of the spec: keys as users write them."""

import difflib
from collections.abc import Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Root = type[BaseModel]

_NO_SECTION = ("model_type", "model_attributes_type", "dict_type")


def problems_of(error: ValidationError, root: Root) -> str:
    """One sentence per problem, the nearest key named for an unknown one.

    Args:
        error: What validation raised.
        root: The model that was validated.
    """
    sentences = [_sentence(detail, root) for detail in error.errors(include_url=False)]
    problems = "; ".join(sentences)
    return problems if problems.endswith("?") else f"{problems}."


def _sentence(detail: ErrorDetails, root: Root) -> str:
    key = _key_of(detail["loc"], root)
    kind, got = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        return f"unknown key {key!r}{_suggestion(detail['loc'], root)}"
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


def _key_of(location: Sequence[str | int], root: Root) -> str:
    """The dotted key as users write it: without the tags of unions and pydantic's own marks."""
    model: Any = root
    parts = []
    for part in map(str, location):
        if part != "[key]" and not isinstance(model, tuple):
            parts.append(part)
        model = _descend(model, part)
    return ".".join(parts)


def _suggestion(location: Sequence[str | int], root: Root) -> str:
    known = _keys_at(root, location[:-1])
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
        tagged = [member for member in sections if part == _tag_of(member)]
        return tagged[0] if tagged else None
    if get_origin(model) is dict:
        return _unwrap(get_args(model)[1])
    return None


def _tag_of(section: type[BaseModel]) -> str:
    """What names a union's member in a location: its `format` or `by`, or else its class."""
    tag = section.model_fields.get("format") or section.model_fields.get("by")
    return get_args(tag.annotation)[0] if tag else section.__name__


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
