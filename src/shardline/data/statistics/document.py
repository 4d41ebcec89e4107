"""`statistics.json`, beside the manifest: what is known of the columns and how they relate."""

import hashlib
from typing import Literal

from shardline.data.manifest import DatasetManifest, Part, StatisticsFile
from shardline.data.statistics.values import Kind
from shardline.errors import NotFoundError
from shardline.spec.data import SplitName
from shardline.store import Store, read_verified

STATISTICS_KEY = "statistics.json"

CorrelationKind = Literal["pearson", "ratio"]


class Histogram(Part):
    """Values in bins of equal width."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    """Values of each bin, estimated from the sample if not all rows are in it."""
    below: int = 0
    """Values under the first edge: outliers, which would leave no room for the others."""
    above: int = 0


class Distribution(Part):
    """Finite numbers: values, elements or lengths."""

    count: int
    mean: float | None
    deviation: float | None
    """None beyond what float64 holds, as the mean."""
    min: float
    max: float
    quantiles: dict[str, float]
    """By probability, such as `0.25`; empty for lengths of which no sample is kept."""
    histogram: Histogram | None


class TopValue(Part):
    """A frequent value."""

    value: str | int | float
    count: int


class ImageShape(Part):
    """How large images are."""

    height: int
    width: int
    channels: int
    count: int
    """Of the sampled images."""


class ColumnProfile(Part):
    """One column of the train split."""

    name: str
    kind: Kind
    type: str
    """As Arrow writes it."""
    rows: int
    """Rows with a value."""
    nulls: int
    not_finite: int
    """Values or elements that are NaN or infinite."""
    values: Distribution | None = None
    """Of numbers and elements; times in seconds since 1970."""
    lengths: Distribution | None = None
    """Characters of texts, elements of lists, bytes of images."""
    distinct: int | None = None
    distinct_exact: bool = True
    top: tuple[TopValue, ...] = ()
    top_exact: bool = True
    """Whether the counts are exact and none is missing that should be there."""
    shapes: tuple[ImageShape, ...] = ()


class Relevance(Part):
    """What one feature alone says about the label."""

    feature: str
    information_bits: float
    """Mutual information, less what chance gives on that many rows."""
    share: float
    """Of the label's entropy that knowing the feature removes, 0 to 1."""
    measurable: bool
    """False where the information is no more than chance gives, at 1 in 1,000."""
    correlation: float | None
    correlation_kind: CorrelationKind | None
    """`pearson` is signed; `ratio`, for classes, says how far apart their means are, 0 to 1."""


class NearDuplicate(Part):
    """Two features of which one says what the other does."""

    first: str
    second: str
    similarity: float
    """1 for the same up to renaming or any monotone function."""


class Droppable(Part):
    """A feature that seems not to be worth its place."""

    feature: str
    reason: str


class LabelClass(Part):
    """One label value."""

    name: str
    counts: dict[SplitName, int]


class LabelBalance(Part):
    """How often each class occurs, most frequent first."""

    classes: tuple[LabelClass, ...]
    num_classes: int


class DatasetStatistics(Part):
    """All of it."""

    num_rows: int
    """Of the train split, which everything but the label balance describes."""
    num_sampled: int
    """Rows that quantiles, histograms, relevance and near duplicates rest on."""
    label: str
    columns: tuple[ColumnProfile, ...]
    """Features and label, in the dataset's order."""
    balance: LabelBalance | None
    """None for a regression target."""
    relevance: tuple[Relevance, ...]
    """Most relevant first; numbers, times and texts only."""
    duplicates: tuple[NearDuplicate, ...]
    droppable: tuple[Droppable, ...]

    def column(self, name: str) -> ColumnProfile:
        """The profile of a column; KeyError if there is none."""
        return {profile.name: profile for profile in self.columns}[name]


def dump_statistics(statistics: DatasetStatistics) -> tuple[bytes, StatisticsFile]:
    """Bytes of `statistics.json`, the same for the same statistics, and their record."""
    data = statistics.model_dump_json(exclude_defaults=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    return data, StatisticsFile(key=STATISTICS_KEY, size_bytes=len(data), sha256=digest)


def load_statistics(store: Store, manifest: DatasetManifest) -> DatasetStatistics:
    """The statistics of a dataset version.

    Raises:
        NotFoundError: It was prepared without.
        IntegrityError: The file is not the one that the manifest names.
    """
    record = manifest.statistics_file
    if record is None:
        raise NotFoundError(
            f"dataset {manifest.name!r} version {manifest.version} has no statistics; "
            "prepare it again with this release, and with data.statistics full."
        )
    data = read_verified(store, f"{manifest.folder}/{record.key}", sha256=record.sha256)
    return DatasetStatistics.model_validate_json(data)
