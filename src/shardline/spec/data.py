"""The `data` section: where raw examples come from and what a row consists of."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shardline.spec.base import Section

DType = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "string",
]  # fmt: skip
Shape = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False)]
Columns = Annotated[tuple[str, ...], Field(strict=False)]
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class ImagesSource(Section):
    """Image files in one folder per class: `PATH/CLASS/anything.png`."""

    format: Literal["images"]
    path: str
    """Folder or URI; a relative path counts from the spec file's folder."""


class CsvSource(Section):
    """Delimited text with a header line."""

    format: Literal["csv"]
    path: str
    """File, folder or glob."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","


class ParquetSource(Section):
    """Parquet files."""

    format: Literal["parquet"]
    path: str
    """File, folder or glob."""


class JsonSource(Section):
    """JSON lines: one object per line."""

    format: Literal["json"]
    path: str
    """File, folder or glob."""


Source = Annotated[
    ImagesSource | CsvSource | ParquetSource | JsonSource, Field(discriminator="format")
]


class FeatureSpec(Section):
    """One model input."""

    dtype: DType
    shape: Shape = ()
    """Shape of one row; empty for a scalar column."""


class LabelSpec(Section):
    """The column to learn."""

    name: str
    """Column name; for `images` the name given to the class folder."""
    dtype: DType = "int64"
    """An integer label read from text gets a vocabulary; a float label is a regression target."""


class SplitSpec(Section):
    """How rows are divided. A row's side depends on its key alone, so adding rows moves none."""

    by: Literal["hash"] = "hash"
    key: str | None = None
    """Column whose value decides the split; without it, the whole row does."""
    fractions: dict[SplitName, Annotated[float, Field(gt=0, le=1)]]

    @model_validator(mode="after")
    def _fractions_add_up(self) -> Self:
        total = sum(self.fractions.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"fractions must add up to 1, got {total:g}")
        if "train" not in self.fractions:
            raise ValueError("fractions must name `train`")
        return self


class DataSpec(Section):
    """Raw source to dataset."""

    source: Source
    features: Annotated[dict[str, FeatureSpec], Field(min_length=1)] | None = None
    """Model inputs by name; left out, every column but label, key and kept ones is a feature."""
    label: LabelSpec
    split: SplitSpec | None = None
    """Left out, every row is training data."""
    keep: Columns = ()
    """Further columns carried along in the shards, for joining predictions back."""
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of rows that may be quarantined before `prepare` refuses the source."""

    @model_validator(mode="after")
    def _label_is_no_feature(self) -> Self:
        if self.features is not None and self.label.name in self.features:
            raise ValueError(f"label {self.label.name!r} is also listed as a feature")
        return self
