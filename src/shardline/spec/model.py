"""The `model` section: which function builds the user's compiled Keras model."""

import re
from collections.abc import Callable
from typing import Any

from pydantic import Field, field_serializer, field_validator
from pydantic.json_schema import SkipJsonSchema

from shardline.spec.base import Section

_BUILDER = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")


class ModelSpec(Section):
    """The builder and its parameters."""

    builder: str | SkipJsonSchema[Callable[..., Any]]
    """`module:function`, the module beside the spec file (or installed); in Python, the function.

    Called as `function(features, **params)`, it returns a compiled `keras.Model`.
    """
    params: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the builder."""

    @field_validator("builder")
    @classmethod
    def _module_and_function(cls, builder: str | Callable[..., Any]) -> str | Callable[..., Any]:
        if isinstance(builder, str) and not _BUILDER.match(builder):
            raise ValueError(f"expected module:function, got {builder!r}")
        return builder

    @field_serializer("builder")
    def _builder_name(self, builder: str | Callable[..., Any]) -> str:
        return builder if isinstance(builder, str) else f"{builder.__module__}:{builder.__name__}"
