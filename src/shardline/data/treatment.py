"""What is done to one column's values before a model sees them: the rules and what was fitted.

It stands in `dataset.json` beside the column and goes into the model with it, so that rows are
treated alike when a dataset is prepared, when files are scored and when requests are answered.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shardline.spec.cleaning import TextRule

Number = int | float


class Treatment(BaseModel):
    """Steps in the order in which they are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    text: TextRule | None = None
    null_values: tuple[str, ...] = ()
    """Texts that count as missing."""
    map: dict[str, str | int | float] | None = None
    unmapped: Literal["quarantine", "keep"] = "keep"
    drop_missing: bool = False
    """Set aside rows in which the value is missing."""
    low: Number | None = None
    """Lowest value, in the column's own type."""
    high: Number | None = None
    beyond: Literal["clip", "quarantine"] | None = None
    """What becomes of values beyond `low` and `high`."""
    fill: bool | int | float | str | None = None
    """What a missing value becomes, in the column's own type; a timestamp in microseconds."""
    indicator: str | None = None
    """The feature that is 1 where the value was missing."""
