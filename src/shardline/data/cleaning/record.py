"""What cleaning did: rows it set aside, values it changed, and how that is written down."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from shardline.data.treatment import Treatment

Step = Literal["rewritten", "mapped", "unmapped", "dropped", "clipped", "outliers", "filled"]
"""`unmapped`, `dropped` and `outliers` count rows that were set aside, the others values that were
changed."""

Touched = Counter[tuple[str, Step]]
"""How many values of a column a step touched; parts of a source add up."""


class Fault(NamedTuple):
    """Why a row is set aside."""

    rule: Literal["missing", "unmapped", "outlier"]
    reason: str


class ColumnRecord(BaseModel):
    """One column's cleaning, as `dataset.json` keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    treatment: Treatment
    fitted_on: int | None = None
    """Values of the train split that bounds and fill come from; None if nothing was fitted."""
    touched: dict[Step, int]
    """Values changed, or rows set aside, by step, over all splits."""


def records_of(
    treatments: Mapping[str, Treatment], fitted_on: Mapping[str, int], touched: Touched
) -> dict[str, ColumnRecord]:
    """What is written down of each column's cleaning."""
    return {
        name: ColumnRecord(
            treatment=treatment,
            fitted_on=fitted_on.get(name),
            touched={
                step: count
                for (column, step), count in sorted(touched.items())
                if column == name and count
            },
        )
        for name, treatment in treatments.items()
    }
