"""The `data` section: where raw examples come from and what a row consists of."""

import struct
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shardline.spec.base import Section
from shardline.spec.cleaning import (
    FITTED_FILLS,
    ColumnCleaning,
    DuplicatesRule,
    indicator_name,
)
from shardline.spec.locations import absolute
from shardline.spec.split import SPLITS as SPLITS
from shardline.spec.split import SplitName as SplitName
from shardline.spec.split import SplitSpec as SplitSpec


def _delimiting(mark: str) -> str:
    if not mark.isascii() or mark in '"\r\n\0':
        raise ValueError(
            f"expected one ASCII character other than a quote or line end, got {mark!r}"
        )
    return mark


TensorDType = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "string",
]  # fmt: skip
DType = Literal[TensorDType, "timestamp"]
"""A timestamp is a moment in UTC, to the microsecond."""
Longer = Literal["cut", "quarantine"]
Shape = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False)]
Delimiter = Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_delimiting)]
Columns = Annotated[tuple[str, ...], Field(strict=False)]


class LabelsTable(Section):
    """A table with one row per image: its file, its label and what else is known of it."""

    format: Literal["csv", "parquet", "json", "arrow"] = "csv"
    path: str
    """File, folder or glob."""
    file: str = "file"
    """Column with each image's path below the source's folder."""
    delimiter: Delimiter | None = None
    """For csv."""


class ImagesSource(Section):
    """Image files in one folder per class, `PATH/CLASS/anything.png`, or with a table of labels."""

    format: Literal["images"]
    path: str
    """Folder or URI; a relative path counts from the spec file's folder."""
    labels: LabelsTable | None = None
    """Where labels come from when folders are no classes."""


class CsvSource(Section):
    """Delimited text with a header line, plain or packed by gzip or zstd."""

    format: Literal["csv"]
    path: str
    """File, folder or glob."""
    delimiter: Delimiter | None = None
    """Left out: a tab for names that end in .tsv, otherwise a comma."""


class ParquetSource(Section):
    """Parquet files."""

    format: Literal["parquet"]
    path: str
    """File, folder or glob."""


class JsonSource(Section):
    """JSON lines: one object per line, plain or packed by gzip or zstd."""

    format: Literal["json"]
    path: str
    """File, folder or glob."""


class ArrowSource(Section):
    """Arrow IPC files, of the file or the stream format."""

    format: Literal["arrow"]
    path: str
    """File, folder or glob."""


class PythonSource(Section):
    """A function of one's own that yields Arrow tables."""

    format: Literal["python"]
    path: Annotated[str, Field(pattern=r"^[^:]+\.py:[A-Za-z_]\w*$")]
    """`FILE.py:function`; the file may import modules that lie beside it."""
    params: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Keyword arguments of the function."""


Source = Annotated[
    ImagesSource | CsvSource | ParquetSource | JsonSource | ArrowSource | PythonSource,
    Field(discriminator="format"),
]


def located_source(source: Source, *, base: Path) -> Source:
    """The same source with absolute locations; relative ones count from `base`."""
    updates: dict[str, Any] = {"path": absolute(source.path, base=base)}
    if isinstance(source, ImagesSource) and source.labels is not None:
        path = absolute(source.labels.path, base=base)
        updates["labels"] = source.labels.model_copy(update={"path": path})
    return source.model_copy(update=updates)


class FeatureSpec(Section):
    """One model input."""

    dtype: DType
    shape: Shape = ()
    """Shape of one row; empty for a scalar column."""
    pad: int | Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Lists of numbers may be shorter than the shape: this stands where one has ended."""
    longer: Longer = "quarantine"
    """With `pad`: a list that is longer loses its end, or its row is set aside."""

    encoded: bool = False
    """Keep images as files, of whatever size; they are decoded to `shape` when batches are made."""

    @model_validator(mode="after")
    def _timestamps_are_scalar(self) -> Self:
        if self.dtype == "timestamp" and self.shape:
            raise ValueError("a timestamp is one per row; leave shape out")
        return self

    @model_validator(mode="after")
    def _lists_can_be_padded(self) -> Self:
        if self.pad is None:
            if self.longer != "quarantine":  # which a resolved spec says anyway
                raise ValueError("longer goes with pad, the number that fills shorter lists up")
            return self
        if self.dtype not in _PACKED:
            raise ValueError(f"pad takes lists of numbers, not of {self.dtype}")
        if len(self.shape) != 1:
            raise ValueError("pad goes with shape: [LENGTH], the length of the padded lists")
        if not _holds(self.dtype, self.pad):
            raise ValueError(f"pad is {self.pad!r}, which {self.dtype} does not hold")
        return self

    @model_validator(mode="after")
    def _encoded_is_an_image(self) -> Self:
        is_image = self.dtype == "uint8" and len(self.shape) == 3 and self.shape[2] in (1, 3, 4)
        if self.encoded and not is_image:
            raise ValueError(
                f"an encoded image becomes uint8 of shape [height, width, 1, 3 or 4], "
                f"not {self.dtype} of shape {list(self.shape)}"
            )
        return self


class LabelSpec(Section):
    """The column to learn."""

    name: str
    """Column name; for `images` the name given to the class folder."""
    dtype: DType = "int64"
    """An integer label read from text gets a vocabulary; a float label is a regression target."""

    @model_validator(mode="after")
    def _is_no_timestamp(self) -> Self:
        if self.dtype == "timestamp":
            raise ValueError("a label is a class or a number, not a timestamp")
        return self


class DataSpec(Section):
    """Raw source to dataset."""

    source: Source
    features: Annotated[dict[str, FeatureSpec], Field(min_length=1)] | None = None
    """Model inputs by name; left out, every column but label, key and kept ones is a feature."""
    label: LabelSpec
    sample: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the rows to take, chosen by hash of the split's key or else of the row."""
    cleaning: dict[str, ColumnCleaning] = Field(default_factory=dict)
    """Rules by column: a feature, the label, or one that is carried along."""
    duplicates: DuplicatesRule | None = None
    """Left out, repeated rows stay."""
    split: SplitSpec | None = None
    """Left out, every row is training data."""
    keep: Columns = ()
    """Further columns carried along in the shards, for joining predictions back."""
    mismatch: Literal["quarantine", "stop"] = "quarantine"
    """What follows when a row cannot be used: it is set aside, or it ends `prepare`."""
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of rows that may be quarantined before `prepare` refuses the source."""
    statistics: Literal["full", "basic"] = "full"
    """What is found out about the dataset: `basic` is what models need (counts, nulls, means,
    variances, ends, vocabularies), `full` adds all that `shardline datasets NAME` shows."""
    reuse: bool = True
    """Keep the typed rows of a folder's files in the store, so that a later version reads only the
    files that were added. A Python function is called again, whatever is new in it."""

    @model_validator(mode="after")
    def _label_is_no_feature(self) -> Self:
        if self.features is not None and self.label.name in self.features:
            raise ValueError(f"label {self.label.name!r} is also listed as a feature")
        return self

    @model_validator(mode="after")
    def _cleaning_suits_its_columns(self) -> Self:
        for name, rules in self.cleaning.items():
            feature = (self.features or {}).get(name)
            if self.features is not None and feature is None and name not in self._others:
                raise ValueError(f"cleaning.{name} is no feature, label, key or kept column")
            if name == self.label.name and rules.missing and rules.missing.by in FITTED_FILLS:
                raise ValueError(
                    f"cleaning.{name}: a label is dropped or filled with a constant when missing, "
                    f"not with the {rules.missing.by} of the others"
                )
            problem = feature and _unsuited(feature, rules)
            if problem:
                raise ValueError(f"cleaning.{name}: {problem}")
        return self

    @model_validator(mode="after")
    def _indicators_are_new(self) -> Self:
        taken = [*(self.features or ()), *self._others]
        for name, rules in self.cleaning.items():
            extra = indicator_name(name, rules.missing) if rules.missing else None
            if extra in taken:
                raise ValueError(f"cleaning.{name}: there is a column {extra!r} already")
            taken += [extra] if extra else []
        return self

    @property
    def _others(self) -> tuple[str, ...]:
        """Columns that the spec names besides features."""
        split = self.split.columns if self.split else ()
        duplicates = self.duplicates.key if self.duplicates else ()
        return (self.label.name, *split, *duplicates, *self.keep)


def _unsuited(feature: FeatureSpec, rules: ColumnCleaning) -> str | None:
    """What is wrong with rules for a feature that is declared."""
    fills = rules.missing is not None and rules.missing.by != "drop"
    if feature.shape and (rules.outliers or fills):
        return "outliers and fills take scalar columns"
    if feature.dtype in ("string", "timestamp") and rules.outliers:
        return "outliers take columns of numbers"
    if feature.dtype == "timestamp" and rules.map:
        return "map takes columns of texts or numbers"
    return None


# How struct packs a number of each dtype.
_PACKED = {
    "int8": "b", "int16": "h", "int32": "i", "int64": "q",
    "uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q",
    "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip


def _holds(dtype: DType, number: float) -> bool:
    try:
        struct.pack(_PACKED[dtype], number)
    except (struct.error, OverflowError):
        return False
    return True
