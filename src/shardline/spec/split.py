"""The `data.split` section: how rows are divided into train, validation and test."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from shardline.spec.base import Section

SplitName = Literal["train", "validation", "test"]
LaterSplit = Literal["validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
LATER_SPLITS: tuple[LaterSplit, ...] = ("validation", "test")


def _moment(value: Any) -> Any:
    """YAML reads an unquoted date as one; the spec keeps its text, and texts must be dates."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no ISO 8601 date or time, as 2026-03-31") from None
    return value


Moment = Annotated[
    str | int | Annotated[float, Field(allow_inf_nan=False)], BeforeValidator(_moment)
]


class SplitSpec(Section):
    """How rows are divided into splits.

    By hash of a key, a row's split depends on the key alone, so adding rows moves none. A group is
    a key that many rows share. By time, training data comes first. Stratified, every class is
    divided in the same proportions.
    """

    by: Literal["hash", "group", "time", "stratified"] = "hash"
    key: str | None = None
    """Column whose value decides (by time: that must not lie on two sides); without it, the row."""
    time: str | None = None
    """By time: a column of numbers, dates or ISO 8601 texts."""
    fractions: dict[SplitName, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    """Share of each split; those left out stay empty."""
    boundaries: dict[LaterSplit, Moment] = Field(default_factory=dict)
    """By time, in place of fractions: the first moment of each later split."""
    leakage: Literal["fail", "quarantine", "allow"] = "fail"
    """What follows when a key, or a row but for its kept columns, lies in two splits."""

    @property
    def names(self) -> tuple[SplitName, ...]:
        """The splits that the rule makes, empty ones included."""
        named = {"train", *self.boundaries} if self.boundaries else set(self.fractions)
        return tuple(name for name in SPLITS if name in named)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the rule looks at, the label aside."""
        return tuple(name for name in (self.key, self.time) if name is not None)

    @model_validator(mode="after")
    def _fractions_add_up(self) -> Self:
        if self.boundaries:
            return self
        if not self.fractions:
            raise ValueError("needs fractions, such as {train: 0.8, validation: 0.1, test: 0.1}")
        total = sum(self.fractions.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"fractions must add up to 1, got {total:g}")
        if "train" not in self.fractions:
            raise ValueError("fractions must name `train`")
        return self

    @model_validator(mode="after")
    def _columns_suit_the_way(self) -> Self:
        if self.by == "group" and self.key is None:
            raise ValueError("by: group needs key, the column that names the group")
        if (self.by == "time") != (self.time is not None):
            needs = (
                "needs time, the column that orders rows" if self.by == "time" else "takes no time"
            )
            raise ValueError(f"by: {self.by} {needs}")
        if self.boundaries and self.by != "time":
            raise ValueError(f"boundaries go with by: time, not with by: {self.by}")
        if self.boundaries and self.fractions:
            raise ValueError("give fractions or boundaries, not both")
        return self

    @model_validator(mode="after")
    def _boundaries_ascend(self) -> Self:
        moments = [ordinal(self.boundaries[n]) for n in LATER_SPLITS if n in self.boundaries]
        if len({kind for kind, _ in moments}) > 1:
            raise ValueError("boundaries must all be dates or all be numbers")
        if len(moments) == 2 and moments[0] >= moments[1]:
            raise ValueError("boundaries: validation must begin before test")
        return self


def ordinal(moment: str | float) -> tuple[Literal["date", "number"], float]:
    """A moment as a number that orders it: microseconds since 1970 for dates, in UTC."""
    if not isinstance(moment, str):
        return "number", float(moment)
    parsed = datetime.fromisoformat(moment)
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    # Whole microseconds: float seconds would round away the last of them.
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return "date", since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
