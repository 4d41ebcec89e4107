"""What becomes of missing, extreme, oddly written and repeated values: `data.cleaning`."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from shardline.spec.base import Section

FITTED_FILLS = ("mean", "median", "mode")


def _listed(value: Any) -> Any:
    """One name is a list of one."""
    return [value] if isinstance(value, str) else value


def _plain_keys(value: Any) -> Any:
    """Keys as text; YAML's unquoted yes and no are booleans and would match nothing."""
    if not isinstance(value, dict):
        return value
    wrong = [
        key for key in value if isinstance(key, bool) or not isinstance(key, str | int | float)
    ]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no text or number; put it in quotes")
    return {_key_text(key): target for key, target in value.items()}


def _key_text(key: str | float) -> str:
    """A key as numbers are written when they are looked up: a whole one without `.0`."""
    is_whole = isinstance(key, float) and key.is_integer() and abs(key) < 10**15
    return str(int(key)) if is_whole else str(key)


Texts = Annotated[
    tuple[str, ...],
    Field(strict=False),
    BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...]),
]
Scalar = Annotated[
    str | bool | int | float,
    BeforeValidator(
        lambda value: value.isoformat() if isinstance(value, date) else value,
        json_schema_input_type=str | bool | int | float,
    ),
]
"""YAML reads an unquoted date as one; the spec keeps its text."""
Mapped = Annotated[dict[str, str | int | float], BeforeValidator(_plain_keys), Field(min_length=1)]


class TextRule(Section):
    """How text is written, before anything else looks at it."""

    unicode: Literal["NFC", "NFKC"] | None = None
    """Unicode normal form."""
    strip: bool = False
    """Take white space off both ends."""
    whitespace: Literal["collapse", "remove"] | None = None
    """Make every run of white space one blank, or nothing."""
    case: Literal["lower", "upper"] | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.unicode or self.strip or self.whitespace or self.case):
            raise ValueError("says nothing; set unicode, strip, whitespace or case")
        return self


class MissingRule(Section):
    """What becomes of a value that is not there."""

    by: Literal["drop", "constant", "mean", "median", "mode"]
    """Quarantine the row, or fill in a constant or what the train split says."""
    value: Scalar | None = None
    """The constant."""
    null_values: Texts = ("",)
    """Texts that count as missing, as they are after `text`."""
    indicator: bool | str = False
    """An extra feature, 1 where the value was missing: its name, or true for `NAME_missing`."""

    @model_validator(mode="after")
    def _value_goes_with_constant(self) -> Self:
        if self.by == "constant" and self.value is None:
            raise ValueError("by: constant needs a value")
        if self.by != "constant" and self.value is not None:
            raise ValueError(f"value goes with by: constant, not with by: {self.by}")
        if self.by == "drop" and self.indicator:
            raise ValueError("by: drop leaves no row for an indicator; fill the value instead")
        return self


class _Outliers(Section):
    then: Literal["clip", "quarantine"]
    """Move the value to the nearest bound, or set the row aside."""


class QuantileOutliers(_Outliers):
    """Beyond two quantiles of the train split."""

    by: Literal["quantile"]
    low: Annotated[float, Field(ge=0, le=1)] = 0.01
    high: Annotated[float, Field(ge=0, le=1)] = 0.99

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class ZScoreOutliers(_Outliers):
    """Further from the train split's mean than so many standard deviations."""

    by: Literal["zscore"]
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0


class IqrOutliers(_Outliers):
    """Further outside the train split's quartiles than so many times their distance."""

    by: Literal["iqr"]
    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.5


class BoundsOutliers(_Outliers):
    """Outside bounds that are known."""

    by: Literal["bounds"]
    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("by: bounds needs min or max")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min ({self.min:g}) must be below max ({self.max:g})")
        return self


Outliers = Annotated[
    QuantileOutliers | ZScoreOutliers | IqrOutliers | BoundsOutliers, Field(discriminator="by")
]


class ColumnCleaning(Section):
    """The rules of one column, applied in the order in which they stand here."""

    text: TextRule | None = None
    map: Mapped | None = None
    """Other names for values, as they are after `text`."""
    unmapped: Literal["quarantine", "keep"] = "quarantine"
    """What becomes of values that `map` does not name."""
    outliers: Outliers | None = None
    missing: MissingRule | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.text or self.map or self.missing or self.outliers):
            raise ValueError("says nothing; set text, map, outliers or missing")
        return self


class DuplicatesRule(Section):
    """One row of each key stays, whatever the order of files and rows; the others are set aside."""

    key: Texts = ()
    """Columns that together name a row; left out, rows equal in all columns are duplicates."""


def indicator_name(column: str, rule: MissingRule) -> str | None:
    """The extra feature that says where a column's value was missing, if the rule asks for one."""
    if isinstance(rule.indicator, str):
        return rule.indicator
    return f"{column}_missing" if rule.indicator else None
