"""What every section of the spec has in common: frozen, strict, and no unknown keys."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name that is also a folder name in the store and a path element in a URL."""


class Section(BaseModel):
    """A part of the spec. Instances never change; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )
