"""`dataset.json`: the marker that makes a dataset exist, and all that is known about it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shardline.data.cleaning.record import ColumnRecord
from shardline.data.schema import Schema
from shardline.errors import NotFoundError
from shardline.spec.data import SplitName, SplitSpec
from shardline.store import Marker, Store, dump_marker, read_marker

MARKER_NAME = "dataset.json"
MAX_LISTED_FILES = 1000
"""A source of more files is known by its fingerprint alone, so that markers stay small."""


class Part(BaseModel):
    """Base of the documents inside the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Shard(Part):
    """One Parquet file."""

    key: str
    """Relative to the dataset's folder."""
    rows: int
    row_groups: tuple[int, ...]
    """Rows of each row group."""
    size_bytes: int
    sha256: str
    table_bytes: int = 0
    """Its rows as an Arrow table in memory, without encoded images."""


class Split(Part):
    """The rows of one side, in shard order."""

    rows: int = 0
    shards: tuple[Shard, ...] = ()


class ColumnStatistics(Part):
    """What the train split says about one column.

    Tensors are counted element by element, with what pads lists; times in seconds since 1970.
    """

    count: int
    nulls: int
    mean: float | None = None
    variance: float | None = None
    min: float | None = None
    max: float | None = None
    vocabulary: tuple[str, ...] | None = None
    """Distinct texts, most frequent first; None for numbers."""


class StatisticsFile(Part):
    """The file beside the manifest that holds all statistics, which few readers need."""

    key: str
    """Relative to the dataset's folder."""
    size_bytes: int
    sha256: str


class SourceRecord(Part):
    """Where the rows came from."""

    format: Literal["images", "csv", "parquet", "json", "arrow", "python"]
    path: str
    num_files: int
    fingerprint: str
    """Sha256 over every file's relative name and content."""
    files: dict[str, str] = Field(default_factory=dict)
    """Sha256 of every file by relative name; empty where there are more than `MAX_LISTED_FILES`."""


class Counts(Part):
    """Every row read is kept or quarantined."""

    rows_read: int
    rows_kept: int
    rows_quarantined: int
    quarantined_by_rule: dict[str, int] = Field(default_factory=dict)
    """Quarantined rows that a rule asked to set aside, such as `duplicate`; the others could not
    be used."""
    rows_sampled_out: int = 0
    """Rows that `data.sample` leaves aside; they do not count as read."""


class DatasetManifest(Marker):
    """One immutable version of a dataset."""

    name: str
    version: str
    """Derived from the source's content and the `data` section."""
    created_unix_s: float
    columns: Schema
    splits: dict[SplitName, Split]
    split_rule: SplitSpec | None
    boundaries: dict[SplitName, str | float] | None = None
    """By time: the first moment of every later split."""
    cleaning: dict[str, ColumnRecord] = Field(default_factory=dict)
    """What cleaning did, by column."""
    statistics: dict[str, ColumnStatistics]
    """By feature name, from the train split alone."""
    statistics_file: StatisticsFile | None = None
    """None for a dataset that was prepared without."""
    source: SourceRecord
    counts: Counts

    @property
    def folder(self) -> str:
        """Key prefix of this version in the store."""
        return dataset_folder(self.name, self.version)

    def split(self, name: SplitName) -> Split:
        """The named split, empty when the rule has none."""
        return self.splits.get(name, Split())


class CurrentVersion(Marker):
    """`current.json`: which version was prepared last."""

    version: str


def dataset_folder(name: str, version: str) -> str:
    """Key prefix of a dataset version."""
    return f"datasets/{name}/{version}"


def load_dataset(store: Store, name: str, version: str | None = None) -> DatasetManifest:
    """A committed dataset version, by default the one prepared last.

    Raises:
        NotFoundError: Nothing was prepared under this name.
    """
    try:
        version = version or read_marker(store, _current_key(name), CurrentVersion).version
        return read_marker(store, f"{dataset_folder(name, version)}/{MARKER_NAME}", DatasetManifest)
    except NotFoundError as error:
        what = f"dataset {name!r} version {version!r}" if version else f"dataset {name!r}"
        raise NotFoundError(
            f"store {store.uri} has no {what}; run `shardline prepare` first."
        ) from error


def make_current(store: Store, name: str, version: str) -> None:
    """Make a version the one that later verbs take; preparing an old source again goes back."""
    store.write(_current_key(name), dump_marker(CurrentVersion(version=version)))


def dataset_versions(store: Store, name: str) -> list[str]:
    """Committed versions of a dataset, in no particular order."""
    folders = store.list_folders(f"datasets/{name}")
    return [v for v in folders if store.exists(f"{dataset_folder(name, v)}/{MARKER_NAME}")]


def _current_key(name: str) -> str:
    return f"datasets/{name}/current.json"
